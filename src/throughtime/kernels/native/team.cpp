#include "team.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace throughtime {

namespace {

using ParallelFor = int32_t (*)(int64_t begin, int64_t end, int64_t grain,
                                void (*work)(int64_t begin, int64_t end, void* context),
                                void* context);

ParallelFor parallel_for = nullptr;
#if defined(__unix__) || defined(__APPLE__)
pid_t owner = 0;  // a child that forked from it has none of PyTorch's threads
bool is_owner() { return getpid() == owner; }
#else
bool is_owner() { return true; }
#endif

// Units are taken one by one, so that nobody waits for a slower worker's share.
struct Labour {
  std::atomic<int64_t> next{0};
  int64_t units;
  void (*work)(void*, int64_t, int64_t);
  void* context;

  void operator()(int64_t worker) {
    for (int64_t unit; (unit = next.fetch_add(1)) < units;) work(context, unit, worker);
  }
};

void start_and_join(int64_t threads, Labour& labour) {
  std::vector<std::thread> others;
  others.reserve(threads);
  for (int64_t worker = 1; worker < threads; ++worker) {
    try {
      others.emplace_back(std::ref(labour), worker);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that are there do the work
    }
  }
  labour(0);
  for (auto& other : others) other.join();
}

}  // namespace

void use_parallel_for(void* address) {
  parallel_for = reinterpret_cast<ParallelFor>(address);
#if defined(__unix__) || defined(__APPLE__)
  owner = getpid();
#endif
}

void share(int64_t threads, int64_t units, void (*work)(void*, int64_t, int64_t), void* context) {
  Labour labour;
  labour.units = units, labour.work = work, labour.context = context;
  threads = threads < units ? threads : units;
  if (threads <= 1) return labour(0);
  if (!parallel_for || !is_owner()) return start_and_join(threads, labour);
  auto some = [](int64_t begin, int64_t, void* labour) { (*static_cast<Labour*>(labour))(begin); };
  if (parallel_for(0, threads, 1, some, &labour) != 0) labour(0);  // 0 is success
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
