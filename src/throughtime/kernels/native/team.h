// Threads for the length of one call.
//
// They are PyTorch's own where it offers them (torch_parallel_for, of its stable C interface): a
// second set would fight with the first one, which waits for work in a busy loop. Otherwise, and in
// processes that have forked, threads are started and joined within the call.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace throughtime {

// Take the address of PyTorch's torch_parallel_for; null: it has none.
void use_parallel_for(void* address);

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
