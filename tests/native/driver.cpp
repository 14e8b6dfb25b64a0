// Runs every kernel over many problems whose buffers are exactly as long as they have to be.
//
// Built by `make sanitize` with the sanitizers, and once without them at full optimisation. Where no
// sanitizer watches, every buffer touches a page that must not be read: in turn at its end and at
// its beginning. Each problem is computed twice, by one thread from a residual full of NaN and by
// several from one full of zeros: the results must be the same bit for bit, and finite, so that
// nothing is read before it is written and no sum depends on the threads.
//
//   driver [problems per kernel] [seed]

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "../../src/throughtime/kernels/native/problem.h"

using namespace throughtime;

namespace {

#if defined(__has_feature)
#define TT_FEATURE(name) __has_feature(name)
#else
#define TT_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    TT_FEATURE(address_sanitizer) || TT_FEATURE(thread_sanitizer)
constexpr bool WATCHED = true;
#else
constexpr bool WATCHED = false;
#endif

constexpr const char* NAMES[] = {"rnn_tanh",   "rnn_relu", "lstm",
                                 "gru_after",  "gru_before", "min_gru",
                                 "min_gru_positive", "min_lstm", "min_lstm_positive"};
constexpr int64_t GATES[] = {1, 1, 4, 3, 3, 2, 2, 3, 3}, KEPT[] = {0, 0, 4, 4, 3, 0, 0, 0, 0},
                  STATES[] = {1, 1, 2, 1, 1, 1, 1, 1, 1};

bool scans(int recurrence) { return recurrence >= MIN_GRU; }

std::mt19937 generator;

int64_t between(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(generator);
}
bool chance(int percent) { return between(1, 100) <= percent; }

// Memory of an exact size; reading or writing beyond it ends the program.
class Buffer {
 public:
  explicit Buffer(int64_t bytes, int fill) : bytes_(bytes) {
    if (WATCHED) {
      data_ = static_cast<char*>(std::malloc(bytes));
    } else {
      static bool at_the_end = false;
      at_the_end = !at_the_end;
      int64_t page = sysconf(_SC_PAGESIZE), inside = (bytes + page - 1) / page * page;
      mapped_ = inside + 2 * page;
      map_ = static_cast<char*>(
          mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      if (inside) mprotect(map_ + page, inside, PROT_READ | PROT_WRITE);
      data_ = map_ + page + (at_the_end ? inside - bytes : 0);
    }
    if (bytes) std::memset(data_, fill, bytes);
  }
  ~Buffer() {
    if (WATCHED) std::free(data_);
    else munmap(map_, mapped_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_, mapped_ = 0;
  char *data_ = nullptr, *map_ = nullptr;
};

// How [T, E, B, row] lies in memory, and how many numbers that takes.
struct Layout {
  Strides at;
  int64_t numbers;
};

Layout random_layout(int64_t T, int64_t E, int64_t B, int64_t row, bool may_overlap) {
  int64_t gap = may_overlap && chance(20) ? between(1, 5) : 0, step = row + gap;
  Strides at;
  switch (between(0, may_overlap ? 4 : 2)) {
    case 0: at = {E * B * step, B * step, step}; break;   // time first
    case 1: at = {step, B * T * step, T * step}; break;   // batch first
    case 2: at = {B * step, T * B * step, step}; break;   // members first
    case 3: at = {0, 0, step}; break;                     // expanded over time
    default: at = {step, 0, 0}; break;                    // expanded over the batch
  }
  bool empty = T == 0 || E == 0 || B == 0 || row == 0;
  return {at, empty ? 0 : at.t * (T - 1) + at.e * (E - 1) + at.b * (B - 1) + row};
}

// The rows of packed sequences, one after the other.
Layout packed_layout(int64_t rows, int64_t row, bool may_overlap) {
  int64_t step = may_overlap && chance(20) ? row * between(0, 1) + between(0, 5) : row;
  return {{step, 0, step}, row == 0 ? 0 : step * (rows - 1) + row};
}

struct Case {
  int recurrence;
  int64_t T, E, B, I, H, reversed, threads;
  double clip;
  bool packed;
};

Case random_case(int recurrence, bool large) {
  Case c{recurrence, between(1, 9), chance(30) ? between(2, 3) : 1, between(1, 7), between(1, 20),
         between(1, 40), chance(40), between(2, 4), chance(25) ? 0.1 : 0.0, false};
  if (chance(10)) c.T = 1, c.B = 1;
  if (chance(20)) c.B = between(8, 40);
  if (chance(20)) c.H = 16 * between(1, 5);
  if (chance(10)) c.H = between(60, 90);
  if (chance(5)) c.B = 0;
  if (chance(5)) c.I = 0;
  if (chance(5)) c.T = between(60, 200), c.B = between(1, 3);
  if (large) c.T = between(20, 40), c.E = 1, c.B = between(90, 110), c.H = between(33, 70);
  if (c.B > 0 && chance(25)) c.packed = true, c.E = 1;
  if (scans(recurrence)) c.packed = false, c.clip = 0, c.I = GATES[recurrence] * c.H;
  return c;
}

// One problem in numbers of type T: its inputs, and what either run of it writes.
template <class T>
class Trial {
 public:
  Trial(const Case& c, int64_t lanes) : c_(c) {
    int64_t states = c.E * c.B * c.H, G = c.E * GATES[c.recurrence] * c.H;
    int64_t padded = (c.H + lanes - 1) / lanes * lanes, both = STATES[c.recurrence] == 2;
    int64_t rows = c.T * c.E * c.B;
    if (c.packed) {
      starts_.push_back(0);
      for (int64_t t = 0, size = c.B; t < c.T; ++t, size = between(chance(20) ? 1 : size, size))
        starts_.push_back(starts_.back() + size);
      rows = starts_.back();
    }
    auto layout = [&](int64_t row, bool may_overlap) {
      return c.packed ? packed_layout(rows, row, may_overlap)
                      : random_layout(c.T, c.E, c.B, row, may_overlap);
    };
    x_ = layout(c.I, true), h_ = layout(c.H, false), d_h_ = layout(c.H, true);
    mask_ = random_layout(c.T, c.E, c.B, 1, true);
    p_ = Problem{};
    zone_h_ = random_layout(c.T, c.E, c.B, c.H, true);
    zone_c_ = random_layout(c.T, c.E, c.B, c.H, true);
    if (chance(30)) p_.dropout = numbers(states);
    if (chance(30)) p_.zone_h = numbers(zone_h_.numbers), p_.zone_h_at = zone_h_.at;
    if (both && chance(30)) p_.zone_c = numbers(zone_c_.numbers), p_.zone_c_at = zone_c_.at;
    int64_t kept = KEPT[c.recurrence] + (p_.zone_h || p_.zone_c);
    residual_ = c.E * c.B * padded * ((c.T + 1) * (1 + both) + c.T * kept);
    p_.T = c.T, p_.E = c.E, p_.B = c.B, p_.I = c.I, p_.H = c.H, p_.reversed = c.reversed;
    p_.x = numbers(x_.numbers), p_.x_at = x_.at;
    p_.h_0 = maybe(states), p_.c_0 = both ? maybe(states) : nullptr;
    if (scans(c.recurrence)) {
      p_.dropout = nullptr;
      kept_ = random_layout(c.T, c.E, c.B, c.H, false);
      residual_ = kept_.numbers, p_.residual_at = kept_.at;
    } else {
      p_.W = numbers(G * c.I), p_.U = numbers(G * c.H), p_.b_ih = maybe(G), p_.b_hh = maybe(G);
    }
    if (c.packed) p_.starts = starts_.data();
    else if (chance(50)) p_.mask = random_mask(), p_.mask_at = mask_.at;
    p_.h_at = h_.at;
    if (chance(80)) p_.d_h = numbers(d_h_.numbers), p_.d_h_at = d_h_.at;
    p_.d_h_n = maybe(states), p_.d_c_n = both ? maybe(states) : nullptr;
    p_.clip = c.clip;
    wanted_ = {rows * c.I, states, both * states, G * c.I, G * c.H, G, G,
               rows * c.H, both * rows * c.H, rows, both * rows};
    for (size_t i = 0; i < wanted_.size(); ++i)  // the last four are not for packed sequences
      if (chance(20) || (c.packed && i >= 7)) wanted_[i] = -1;
    if (scans(c.recurrence)) {  // no weights, no norms; what carries the gradient there must be
      for (int i : {3, 4, 5, 6, 9}) wanted_[i] = -1;
      wanted_[0] = rows * c.I, wanted_[1] = states;
    }
  }

  // Forward without a residual, forward with one, adjoint; all that they write.
  using Results = std::vector<std::unique_ptr<Buffer>>;
  Results run(const Kernels& kernels, int64_t threads, int residual_fill) {
    Results results;
    auto out = [&](int64_t count) -> void* {
      if (count < 0) return nullptr;
      results.push_back(std::make_unique<Buffer>(count * sizeof(T), 0xff));
      return results.back()->data();
    };
    constexpr int precision = sizeof(T) == 8 ? DOUBLE : FLOAT;
    int64_t states = c_.E * c_.B * c_.H;
    Buffer residual(residual_ * sizeof(T), residual_fill);
    p_.threads = threads;
    for (bool keep : {false, true}) {
      p_.residual = keep ? residual.data() : nullptr;
      p_.h = out(h_.numbers);
      p_.h_n = out(states);
      p_.c_n = STATES[c_.recurrence] == 2 ? out(states) : nullptr;
      kernels.forward[c_.recurrence][precision](p_);
    }
    p_.dx = out(wanted_[0]);
    p_.dx_at = {c_.packed ? c_.I : c_.E * c_.B * c_.I, c_.packed ? 0 : c_.B * c_.I, c_.I};
    void** fields[] = {&p_.dh_0, &p_.dc_0, &p_.dW, &p_.dU, &p_.db_ih, &p_.db_hh,
                       &p_.all_dh, &p_.all_dc, &p_.norm_dh, &p_.norm_dc};
    bool both = STATES[c_.recurrence] == 2;
    for (int i = 0; i < 10; ++i) {
      bool of_c = i == 1 || i == 7 || i == 9;
      *fields[i] = of_c && !both ? nullptr : out(wanted_[i + 1]);
    }
    kernels.adjoint[c_.recurrence][precision](p_);
    return results;
  }

 private:
  void* numbers(int64_t count) {
    inputs_.push_back(std::make_unique<Buffer>(count * sizeof(T), 0));
    auto* to = static_cast<T*>(inputs_.back()->data());
    std::uniform_real_distribution<double> uniform(-1, 1);
    double scale = 1 / std::sqrt(double(c_.H));
    for (int64_t i = 0; i < count; ++i) to[i] = uniform(generator) * scale;
    return to;
  }
  void* maybe(int64_t count) { return chance(75) ? numbers(count) : nullptr; }

  void* random_mask() {
    inputs_.push_back(std::make_unique<Buffer>(mask_.numbers, 0));
    auto* to = static_cast<uint8_t*>(inputs_.back()->data());
    int64_t percent = between(0, 4) * 25;
    for (int64_t i = 0; i < mask_.numbers; ++i) to[i] = chance(percent);
    if (x_.numbers == c_.T * c_.E * c_.B * c_.I) put_nan_into_padding(to);
    return to;
  }

  void put_nan_into_padding(const uint8_t* mask) {
    auto* x = const_cast<T*>(static_cast<const T*>(p_.x));
    for (int64_t t = 0; t < c_.T; ++t)
      for (int64_t e = 0; e < c_.E; ++e)
        for (int64_t b = 0; b < c_.B; ++b)
          for (int64_t i = 0; i < c_.I; ++i)
            if (!mask[t * mask_.at.t + e * mask_.at.e + b * mask_.at.b])
              x[t * x_.at.t + e * x_.at.e + b * x_.at.b + i] = std::nan("");
  }

  Case c_;
  Layout x_, h_, d_h_, mask_, zone_h_, zone_c_, kept_;
  int64_t residual_;
  std::vector<int64_t> starts_;
  Problem p_;
  std::vector<int64_t> wanted_;
  std::vector<std::unique_ptr<Buffer>> inputs_;
};

template <class T>
bool finite(const Buffer& buffer) {
  auto* from = static_cast<const T*>(buffer.data());
  for (int64_t i = 0; i < buffer.bytes() / int64_t(sizeof(T)); ++i)
    if (!std::isfinite(from[i])) return false;
  return true;
}

char current[300];  // the problem that is being computed

void say_and_stop(int) {
  const char* const said[] = {current, ": beyond a buffer\n"};
  for (const char* text : said)
    if (write(STDERR_FILENO, text, std::strlen(text)) < 0) break;
  _exit(1);
}

template <class T>
void hold(const char* processor, const Kernels& kernels, const Case& c) {
  Trial<T> trial(c, kernels.vector_bytes / sizeof(T));
  std::snprintf(current, sizeof current,
                "%s %s, %d bytes: T %ld E %ld B %ld I %ld H %ld reversed %ld packed %d threads %ld",
                processor, NAMES[c.recurrence], int(sizeof(T)), long(c.T), long(c.E), long(c.B),
                long(c.I), long(c.H), long(c.reversed), c.packed, long(c.threads));
  auto once = trial.run(kernels, 1, 0xff), again = trial.run(kernels, c.threads, 0);
  const char* wrong = nullptr;
  for (size_t i = 0; i < once.size(); ++i) {
    if (!finite<T>(*once[i])) wrong = "a number was not written, or is not finite";
    else if (once[i]->bytes() && std::memcmp(once[i]->data(), again[i]->data(), once[i]->bytes()))
      wrong = "one thread and several do not agree";
    if (!wrong) continue;
    std::printf("%s: %s (%zu)\n", current, wrong, i);
    std::exit(1);
  }
}

template <class T>
void hold_elementwise(const Kernels& kernels) {
  for (auto functions : {kernels.sigmoid, kernels.tanh})
    for (int64_t count = 0; count < 70; ++count) {
      Buffer from(count * sizeof(T), 0), to(count * sizeof(T), 0xff);
      functions[sizeof(T) == 8](from.data(), to.data(), count);
      if (!finite<T>(to)) std::printf("elementwise: count %ld\n", long(count)), std::exit(1);
    }
}

}  // namespace

int main(int arguments, char** argument) {
  int problems = arguments > 1 ? std::atoi(argument[1]) : 200;
  if (!WATCHED) std::signal(SIGSEGV, say_and_stop);
  generator.seed(arguments > 2 ? std::atoi(argument[2]) : 0);
  struct Processor {
    const char* name;
    const Kernels* kernels;
    bool runs;
  };
  const Processor processors[] = {
#if defined(__x86_64__)
      {"avx512", &avx512_kernels,
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")},
      {"avx2", &avx2_kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {"portable", &portable_kernels, true},
  };
  for (const auto& processor : processors) {
    if (!processor.runs) continue;
    hold_elementwise<float>(*processor.kernels);
    hold_elementwise<double>(*processor.kernels);
    for (int recurrence = 0; recurrence < RECURRENCES; ++recurrence)
      for (int i = 0; i < problems; ++i) {
        bool large = i % 50 == 0;
        hold<float>(processor.name, *processor.kernels, random_case(recurrence, large));
        hold<double>(processor.name, *processor.kernels, random_case(recurrence, large));
      }
    std::printf("%s: %d problems for each kernel, all well\n", processor.name, 2 * problems);
  }
}
