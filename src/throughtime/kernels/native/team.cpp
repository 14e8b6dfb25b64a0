#include "team.h"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace throughtime {

void share(int64_t threads, int64_t units, void (*work)(void*, int64_t, int64_t), void* context) {
  std::atomic<int64_t> next{0};
  auto labour = [&](int64_t worker) {
    for (int64_t unit; (unit = next.fetch_add(1)) < units;) work(context, unit, worker);
  };
  std::vector<std::thread> others;
  int64_t wanted = (threads < units ? threads : units) - 1;
  if (wanted > 0) others.reserve(wanted);
  for (int64_t worker = 1; worker <= wanted; ++worker) {
    try {
      others.emplace_back(labour, worker);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that are there do the work
    }
  }
  labour(0);
  for (auto& other : others) other.join();
}

void Turn::await(int64_t unit) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return next_ == unit; });
}

void Turn::pass() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ++next_;
  }
  changed_.notify_all();
}

Scratch::Scratch(int64_t bytes) {
  constexpr int64_t line = 64;
  data_ = static_cast<char*>(std::aligned_alloc(line, (bytes + line) / line * line));
  if (!data_) throw std::bad_alloc();
}

Scratch::~Scratch() { std::free(data_); }

void expect_writes(void* buffer, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t page = 2 << 20;
  if (bytes < page) return;
  auto start = (reinterpret_cast<intptr_t>(buffer) + page - 1) / page * page;
  auto stop = (reinterpret_cast<intptr_t>(buffer) + bytes) / page * page;
  if (stop > start) madvise(reinterpret_cast<void*>(start), stop - start, MADV_HUGEPAGE);
#else
  (void)buffer, (void)bytes;
#endif
}

}  // namespace throughtime
