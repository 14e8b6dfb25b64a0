// Threads for the length of one call. None outlives it, so that a process may fork at any time.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace throughtime {

// Call work(context, unit, worker) for every unit; each worker takes the next one that is left.
void share(int64_t threads, int64_t units, void (*work)(void* context, int64_t unit, int64_t worker),
           void* context);

// Lets units pass in their order, whoever works on them: sums are then the same on every run.
class Turn {
 public:
  void await(int64_t unit);
  void pass();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t next_ = 0;
};

// Memory for the length of one call, aligned to a cache line; throws std::bad_alloc.
class Scratch {
 public:
  explicit Scratch(int64_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  char* data() const { return data_; }

 private:
  char* data_;
};

// Ask for large pages where a buffer is large and about to be written for the first time.
void expect_writes(void* buffer, int64_t bytes);

}  // namespace throughtime
