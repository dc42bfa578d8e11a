// What is in the processor's registers while a program runs.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "object.h"
#include "service_thread.h"

#if defined(__x86_64__)
#include <sys/rseq.h>
#include <sys/syscall.h>

#include <ctime>
#endif

namespace probe {
namespace {

#if defined(__x86_64__)

constexpr size_t kRegisters = 16;
struct alignas(64) Registers {
  unsigned char bytes[kRegisters][32];
};

// Fills the sixteen vector registers, and reads them back when `go_on` is 0. In between it computes for a
// while and then sleeps a while, all of it without any other instruction that could touch them.
#define PROBE_EACH_REGISTER(move_one)                                                             \
  move_one(0) move_one(1) move_one(2) move_one(3) move_one(4) move_one(5) move_one(6) move_one(7) \
      move_one(8) move_one(9) move_one(10) move_one(11) move_one(12) move_one(13) move_one(14) move_one(15)
#define PROBE_LOAD_AVX(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define PROBE_STORE_AVX(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
#define PROBE_LOAD_SSE(n) "movdqu " #n "*32(%[in]), %%xmm" #n "\n"
#define PROBE_STORE_SSE(n) "movdqu %%xmm" #n ", " #n "*32(%[out])\n"
#define PROBE_HOLD(load, store) \
  __asm__ volatile(PROBE_EACH_REGISTER(load)                                                                  \
                   "1:\n mov $50000, %%r8d\n"                                                                 \
                   "2:\n dec %%r8d\n jnz 2b\n"                                                                \
                   "mov %[nanosleep], %%eax\n mov %[time], %%rdi\n xor %%esi, %%esi\n syscall\n"              \
                   "cmpl $0, (%[go_on])\n jne 1b\n" PROBE_EACH_REGISTER(store)                                \
                   :                                                                                          \
                   : [in] "r"(&in), [out] "r"(&out), [go_on] "r"(go_on), [time] "r"(&time),                   \
                     [nanosleep] "i"(SYS_nanosleep)                                                           \
                   : "memory", "cc", "rax", "rcx", "rdi", "rsi", "r8", "r11", "xmm0", "xmm1", "xmm2", "xmm3", \
                     "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",      \
                     "xmm14", "xmm15")

Registers hold(const Registers& in, const int* go_on) {
  Registers out = {};
  const timespec time = {0, 10'000'000};
  if (__builtin_cpu_supports("avx")) {
    PROBE_HOLD(PROBE_LOAD_AVX, PROBE_STORE_AVX);
  } else {
    PROBE_HOLD(PROBE_LOAD_SSE, PROBE_STORE_SSE);
  }
  return out;
}

class VectorRegisters : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    go_on_ = 1;
    fill_pattern(&in_, sizeof in_, static_cast<uint64_t>(round));
    thread_.begin([this] { out_ = hold(in_, &go_on_); });
  }
  void verify(int) override {
    expect(thread_.is_busy(), "the thread does not hold them any more");
    __atomic_store_n(&go_on_, 0, __ATOMIC_SEQ_CST);
    thread_.finish();
    const size_t size = __builtin_cpu_supports("avx") ? 32 : 16;
    for (size_t i = 0; i < kRegisters; ++i)
      expect(std::memcmp(in_.bytes[i], out_.bytes[i], size) == 0, text("register ", i, ": other content"));
  }
  std::string note() const override { return __builtin_cpu_supports("avx") ? "avx" : "sse"; }

 private:
  int go_on_ = 0;
  Registers in_ = {}, out_ = {};
  ServiceThread thread_;
};

// The modes of the floating point units: rounding and precision.
class FloatModes : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    const auto mxcsr = static_cast<uint32_t>(0x1f80 | ((round % 4) << 13));
    const auto control = static_cast<uint16_t>(0x37f & ~(0x300 * (round % 2)));
    __asm__ volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(control));
    mxcsr_ = mxcsr;
    control_ = control;
  }
  void verify(int) override {
    uint32_t mxcsr = 0;
    uint16_t control = 0;
    __asm__ volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(control));
    expect_equal("mxcsr without its sticky flags", mxcsr & ~0x3fU, mxcsr_);
    expect_equal("x87 control word", control, control_);
  }

 private:
  uint32_t mxcsr_ = 0;
  uint16_t control_ = 0;
};

// --- restartable sequences: each increment of a processor's counter is one

struct alignas(64) Counter {
  int64_t value = 0;
};

volatile struct rseq* own_rseq() {
  return reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
}

// False where the thread was interrupted or moved in between. The kernel then goes to the address behind the
// signature.
bool increment(Counter* counters) {
  volatile struct rseq* own = own_rseq();
  const uint32_t cpu = own->cpu_id_start;
  int64_t* value = &counters[cpu].value;
  __asm__ goto(
      ".pushsection __rseq_cs, \"aw\"\n .balign 32\n"
      "3:\n .long 0, 0\n .quad 1f, 2f - 1f, 4f\n .popsection\n"
      "leaq 3b(%%rip), %%rax\n movq %%rax, %[cs]\n"
      "1:\n cmpl %[cpu], %[cpu_id]\n jnz 4f\n incq %[value]\n"
      "2:\n"
      ".pushsection __rseq_failure, \"ax\"\n"
      ".byte 0x0f, 0xb9, 0x3d\n .long %c[signature]\n"
      "4:\n jmp %l[failed]\n .popsection\n"
      :
      : [cs] "m"(own->rseq_cs), [cpu_id] "m"(own->cpu_id), [cpu] "r"(cpu), [value] "m"(*value),
        [signature] "i"(RSEQ_SIG)
      : "memory", "cc", "rax"
      : failed);
  return true;
failed:
  return false;
}

class RestartableSequences : public Object {
 public:
  void set_up() override {
    if (__rseq_size == 0) throw Skipped("no rseq");
    for (auto& thread : threads_)
      thread.begin([this] {
        for (uint64_t steps = 0; !is_over_; ++steps) {
          if (increment(counters_.data())) {
            ++done_;
          } else {
            ++repeated_;
          }
          if (steps % 100'000 == 0) sleep_for(20ms);
        }
      });
  }
  ~RestartableSequences() override {
    is_over_ = true;
    for (auto& thread : threads_) await("end of a thread", [&] { return !thread.is_busy(); });
  }
  void change(int) override { last_ = +done_; }
  void verify(int) override {
    expect(done_ >= last_, text("the counter went back from ", +last_, " to ", +done_));
    const uint64_t before = done_;
    await("growth of the counter", [&] { return done_ > before; });
    // Counted twice, by two threads: once each by an atomic, which can be two steps behind or ahead.
    int64_t sum = 0;
    const uint64_t low = done_;
    for (const Counter& counter : counters_) sum += __atomic_load_n(&counter.value, __ATOMIC_RELAXED);
    const uint64_t high = done_ + 2;
    expect(static_cast<uint64_t>(sum) >= low && static_cast<uint64_t>(sum) <= high,
           text("sum of all processors' counters: expected ", low, " to ", high, ", found ", sum));
    for (auto& thread : threads_) expect(thread.is_busy(), "a thread has ended");
    expect(own_rseq()->cpu_id < counters_.size(), text("no longer registered: cpu ", own_rseq()->cpu_id));
  }
  std::string note() const override { return text(+done_, " done, ", +repeated_, " repeated"); }

 private:
  std::vector<Counter> counters_ = std::vector<Counter>(static_cast<size_t>(::sysconf(_SC_NPROCESSORS_CONF)));
  std::atomic<bool> is_over_ = false;
  std::atomic<uint64_t> done_ = 0, repeated_ = 0, last_ = 0;
  ServiceThread threads_[2];
};

#endif

// Of the compiler's choice: numbers that go on as they were.
class Computation : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    go_on_ = true;
    thread_.begin([this, round] {
      double sum = round;
      float product = 1;
      for (steps_ = 0; go_on_; ++steps_) {
        sum += 0.5;
        product = product * 1.5F / 1.5F;
        if (steps_ % 100'000 == 99'999) sleep_for(20ms);
      }
      sum_ = sum;
      product_ = product;
    });
  }
  void verify(int round) override {
    expect(thread_.is_busy(), "the computation has ended");
    go_on_ = false;
    thread_.finish();
    expect_equal("sum", sum_, round + 0.5 * static_cast<double>(+steps_));
    expect(product_ > 0.99F && product_ < 1.01F, text("product: expected 1, found ", product_));
  }

 private:
  std::atomic<bool> go_on_ = false;
  std::atomic<uint64_t> steps_ = 0;
  double sum_ = 0;
  float product_ = 0;
  ServiceThread thread_;
};

constexpr Kind kKinds[] = {
    {"computation", make<Computation>},
#if defined(__x86_64__)
    {"vector_registers", make<VectorRegisters>},
    {"float_modes", make<FloatModes>},
    {"restartable_sequences", make<RestartableSequences>},
#endif
};

}  // namespace

std::span<const Kind> register_objects() { return kKinds; }

}  // namespace probe
