// Times our kernels and the vendor's library on the GPU at hand, and compares both with what cuda/cost.h predicts.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/Sleep.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <respeft/ops/rescaled_linear.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/shortcut.h"
#include "src/ops/cuda/device.h"
#include "src/ops/cuda/elements.h"
#include "src/ops/cuda/way.h"
#include "tests/cuda/gpu/device.h"

namespace {

using namespace respeft::cuda;
using respeft::ops::cuda::ScopedWay;
using respeft::ops::cuda::Way;

constexpr const char* kUsage = R"(usage: respeft_gpu_bench [--tolerance FACTOR] [--rounds N] [--device]

  --tolerance FACTOR  a prediction may be off by this much, either way, for what takes more than 10 µs (default: 2)
  --rounds N          measurements of each way, taken in turns (default: 15)
  --device            only names the GPU

Exit status: 0 if every prediction is within the tolerance and the way that the model takes is never more than 1.25 times
slower than the other, or if there is no GPU; 1 if not, and for --device if there is no GPU; 2 for a wrong command line.
)";

struct Options {
  double tolerance = 2.0;
  int rounds = 15;
  bool device_alone = false;
};

constexpr double kShortest = 10.0;      // microseconds: what predictions are judged from
constexpr double kAcceptedLoss = 1.25;  // of the way taken over the other
constexpr int64_t kRank = 8;

// ---- What is timed ------------------------------------------------------------------------------------------------------------

/// One way of computing something. `call` takes the number of a set of operands: they are used in turns, so that none is in L2
/// when it is read, as the model assumes.
struct Contender {
  std::function<void(int64_t set)> call;
  Cost predicted;
};

struct Row {
  std::string kernel;
  ProductSize size;
  int64_t sets;
  Contender ours, theirs;
};

/// Sets of operands: matrices of random numbers.
class Operands {
 public:
  Operands(at::ScalarType dtype, const std::vector<std::vector<int64_t>>& shapes) {
    int64_t bytes = 0;
    for (const auto& shape : shapes) bytes += c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
    const auto cache = static_cast<int64_t>(at::cuda::getCurrentDeviceProperties()->l2CacheSize);
    const auto count = std::clamp<int64_t>(2 * cache / bytes + 1, 2, 512);
    for (int64_t set = 0; set < count; ++set) {
      sets_.emplace_back();
      for (const auto& shape : shapes)
        sets_.back().push_back(at::randn(shape, at::TensorOptions().device(at::kCUDA).dtype(dtype)) * 0.1);
    }
  }
  int64_t count() const { return static_cast<int64_t>(sets_.size()); }
  const at::Tensor& operator()(int64_t set, size_t which) const { return sets_[static_cast<size_t>(set)][which]; }

 private:
  std::vector<std::vector<at::Tensor>> sets_;
};

template <class Scalar>
const auto* data(const at::Tensor& tensor) {
  return respeft::ops::cuda::data<Scalar>(tensor);
}

/// The rows of one dtype.
template <class Scalar>
class Rows {
 public:
  explicit Rows(const Architecture& gpu) : gpu_(gpu) {}

  Row rescaled_product(const ProductSize& s) const {
    const auto operands = make({{s.rows, s.depth}, {s.columns, s.depth}});
    const auto scale_in = at::randn({s.depth}, floats()), scale_out = at::randn({s.columns}, floats());
    const auto call = [=](Way way) {
      return [=](int64_t set) {
        const ScopedWay scoped(way);
        respeft::ops::rescaled_linear((*operands)(set, 0), (*operands)(set, 1), std::nullopt, scale_in, scale_out);
      };
    };
    return {"rescaled product",
            s,
            operands->count(),
            {call(Way::Fused), fused_rescaled_product(gpu_, kArithmetic, s)},
            {call(Way::Vendor), two_step_rescaled_product(gpu_, kArithmetic, s)}};
  }

  Row scale_gradients(const ProductSize& s) const {
    const auto operands = make({{s.depth, s.rows}, {s.depth, s.columns}, {s.rows, s.columns}});
    const auto scale_in = at::randn({s.columns}, floats()), scale_out = at::randn({s.rows}, floats());
    const auto call = [=](Way way) {
      return [=](int64_t set) {
        const ScopedWay scoped(way);
        respeft::ops::rescaled_linear_backward((*operands)(set, 0), (*operands)(set, 1), (*operands)(set, 2), scale_in, scale_out,
                                               true, {false, true, true, true});
      };
    };
    return {"scale gradients",
            s,
            operands->count(),
            {call(Way::Fused), fused_scale_gradients(gpu_, kArithmetic, s)},
            {call(Way::Vendor), composed_scale_gradients(gpu_, kArithmetic, s)}};
  }

  Row thin_product(const ProductSize& s) const {
    const auto operands = make({{s.rows, s.depth}, {s.columns, s.depth}, {s.rows, s.columns}});
    const auto ours = [=](int64_t set) {
      auto output = at::empty({s.rows, s.columns}, elements());
      ThinProductParams<Element> params{};
      params.input = data<Scalar>((*operands)(set, 0)), params.factor = data<Scalar>((*operands)(set, 1));
      params.addend = data<Scalar>((*operands)(set, 2)), params.output = respeft::ops::cuda::mutable_data<Scalar>(output);
      params.tokens = s.rows, params.input_stride = params.depth = s.depth;
      params.addend_stride = params.addend_columns = params.output_stride = s.columns;
      params.scaling = 1.0f, params.groups = {1, 0, s.columns, {}};
      params.align(Direction::Forward);
      C10_CUDA_CHECK(launch_thin_product(Direction::Forward, params, false, respeft::ops::cuda::stream()));
    };
    const auto theirs = [=](int64_t set) { (*operands)(set, 0).mm((*operands)(set, 1).t()).add_((*operands)(set, 2)); };
    return {"thin product",
            s,
            operands->count(),
            {ours, fused_thin_product(gpu_, kArithmetic, s)},
            {theirs, composed_thin_product(gpu_, kArithmetic, s, true)}};
  }

  Row updated_product(const ProductSize& s) const {
    const auto operands = make({{s.rows, s.depth}, {s.columns, s.depth}, {s.rows, kRank}, {s.columns, kRank}});
    const auto ours = [=](int64_t set) {
      auto output = at::empty({s.rows, s.columns}, elements());
      UpdatedProductParams<Element> params{};
      params.input = data<Scalar>((*operands)(set, 0)), params.weight = data<Scalar>((*operands)(set, 1));
      params.middle = data<Scalar>((*operands)(set, 2)), params.factor = data<Scalar>((*operands)(set, 3));
      params.output = respeft::ops::cuda::mutable_data<Scalar>(output);
      params.tokens = s.rows, params.in = s.depth, params.out = s.columns, params.middle_columns = kRank;
      params.scaling = 1.0f, params.groups = {1, s.columns, kRank, {0}};
      params.align(Direction::Forward);
      C10_CUDA_CHECK(launch_updated_product(Direction::Forward, params, false, respeft::ops::cuda::stream()));
    };
    const auto theirs = [=](int64_t set) {
      at::linear((*operands)(set, 0), (*operands)(set, 1)).addmm_((*operands)(set, 2), (*operands)(set, 3).t());
    };
    return {"updated product",
            s,
            operands->count(),
            {ours, fused_updated_product(gpu_, kArithmetic, s, kRank)},
            {theirs, composed_updated_product(gpu_, kArithmetic, s, kRank, 1)}};
  }

  Row fold(const ProductSize& s) const {
    const auto operands = make({{s.rows, s.columns}, {s.depth, s.columns}, {s.rows, s.depth}});
    const auto ours = [=](int64_t set) {
      auto folded = at::empty({s.rows, s.columns}, elements());
      FoldParams<Element> params{};
      params.weight = data<Scalar>((*operands)(set, 0)), params.down = data<Scalar>((*operands)(set, 1));
      params.up = data<Scalar>((*operands)(set, 2)), params.folded = respeft::ops::cuda::mutable_data<Scalar>(folded);
      params.in = s.columns, params.out = s.rows, params.scaling = 1.0f, params.groups = {1, s.rows, s.depth, {0}};
      params.align();
      C10_CUDA_CHECK(launch_fold_update(params, false, respeft::ops::cuda::stream()));
    };
    const auto theirs = [=](int64_t set) { (*operands)(set, 0).clone().addmm_((*operands)(set, 2), (*operands)(set, 1)); };
    return {
        "fold", s, operands->count(), {ours, fused_fold(gpu_, kArithmetic, s)}, {theirs, composed_fold(gpu_, kArithmetic, s)}};
  }

 private:
  using Element = respeft::ops::cuda::ElementOf<Scalar>;
  static constexpr auto kType = c10::CppTypeToScalarType<Scalar>::value;
  static constexpr auto kArithmetic = kType == at::kFloat ? Arithmetic::Tf32 : Arithmetic::Half;

  static at::TensorOptions elements() { return at::TensorOptions().device(at::kCUDA).dtype(kType); }
  static at::TensorOptions floats() { return elements().dtype(at::kFloat); }

  static std::shared_ptr<Operands> make(const std::vector<std::vector<int64_t>>& shapes) {
    return std::make_shared<Operands>(kType, shapes);
  }

  const Architecture& gpu_;
};

// ---- Timing -------------------------------------------------------------------------------------------------------------------

class Event {
 public:
  Event() { C10_CUDA_CHECK(cudaEventCreate(&event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { static_cast<void>(cudaEventDestroy(event_)); }

  void record() { C10_CUDA_CHECK(cudaEventRecord(event_, respeft::ops::cuda::stream())); }
  void synchronize() { C10_CUDA_CHECK(cudaEventSynchronize(event_)); }
  bool happened() const {
    const auto status = cudaEventQuery(event_);
    if (status != cudaErrorNotReady)
      C10_CUDA_CHECK(status);
    else
      static_cast<void>(cudaGetLastError());
    return status == cudaSuccess;
  }
  /// Microseconds since `start`.
  double since(const Event& start) const {
    float milliseconds = 0.0f;
    C10_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.event_, event_));
    return milliseconds * 1e3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The calls of a contender, one after the other on the stream.
class Stopwatch {
 public:
  Stopwatch(const Contender& contender, int64_t sets) : contender_(contender), sets_(sets) {}

  void warm_up() {
    for (int64_t set = 0; set < std::min<int64_t>(sets_, 2 * kCalls); ++set) contender_.call(set);
    c10::cuda::device_synchronize();
  }

  /// The GPU sleeps until all is queued, so that the host does not hold it up.
  void measure() {
    for (int64_t cycles = 10'000'000; cycles <= 640'000'000; cycles *= 4) {
      at::cuda::sleep(cycles);
      start_.record();
      for (int call = 0; call < kCalls; ++call) contender_.call(next_++ % sets_);
      const bool queued_in_time = !start_.happened();
      end_.record();
      end_.synchronize();
      if (!queued_in_time) continue;
      times_.push_back(end_.since(start_) / kCalls);
      return;
    }
    throw std::runtime_error("the host is too slow to queue what is timed");
  }

  double least() const { return *std::min_element(times_.begin(), times_.end()); }
  double median() const {
    auto sorted = times_;
    std::sort(sorted.begin(), sorted.end());
    const auto middle = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[middle] : 0.5 * (sorted[middle - 1] + sorted[middle]);
  }

 private:
  static constexpr int kCalls = 20;
  const Contender& contender_;
  int64_t sets_, next_ = 0;
  std::vector<double> times_;
  Event start_, end_;
};

// ---- The table ----------------------------------------------------------------------------------------------------------------

std::string shape_of(const Row& row) {
  const auto& s = row.size;
  return std::to_string(s.rows) + " × " + std::to_string(s.columns) + " × " + std::to_string(s.depth);
}

void print_header() {
  std::puts(
      "| kernel | rows × columns × depth | ours: min | median | predicted | ratio | vendor's: min | median | predicted | ratio | "
      "taken "
      "| faster |");
  std::puts("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|");
}

/// Times a row and prints it; what is wrong with it is added to `faults`.
void run(const Row& row, const Options& options, const std::string& dtype, std::vector<std::string>& faults) {
  Stopwatch ours(row.ours, row.sets), theirs(row.theirs, row.sets);
  for (auto* watch : {&ours, &theirs}) watch->warm_up();
  for (int round = 0; round < options.rounds; ++round)
    for (auto* watch : {&ours, &theirs}) watch->measure();

  const std::string name = dtype + " " + row.kernel + " " + shape_of(row);
  std::printf("| %s | %s |", row.kernel.c_str(), shape_of(row).c_str());
  const auto judge = [&](const Stopwatch& watch, const Cost& predicted, const char* whose) {
    const double ratio = watch.median() / predicted.time();
    std::printf(" %.1f | %.1f | %.1f | %.2f |", watch.least(), watch.median(), predicted.time(), ratio);
    if (watch.median() > kShortest && std::max(ratio, 1.0 / ratio) > options.tolerance)
      faults.push_back(name + ", " + whose + ": the median is " + std::to_string(ratio) + " times what is predicted");
  };
  judge(ours, row.ours.predicted, "ours");
  judge(theirs, row.theirs.predicted, "the vendor's");
  const bool takes_ours = row.ours.predicted.time() <= row.theirs.predicted.time();
  const bool ours_is_faster = ours.median() <= theirs.median();
  std::printf(" %s | %s |\n", takes_ours ? "ours" : "vendor's", ours_is_faster ? "ours" : "vendor's");
  std::fflush(stdout);
  const double loss = takes_ours ? ours.median() / theirs.median() : theirs.median() / ours.median();
  if (loss > kAcceptedLoss)
    faults.push_back(name + ": the way taken, " + (takes_ours ? "ours" : "the vendor's") + ", is " + std::to_string(loss) +
                     " times as slow as the other");
}

template <class Scalar>
void run_all(const char* title, const Options& options, std::vector<std::string>& faults) {
  const Rows<Scalar> rows(respeft::ops::cuda::gpu());
  const auto timed = [&](const Row& row) { run(row, options, title, faults); };
  std::printf("\n%s, microseconds\n\n", title);
  print_header();
  for (const int64_t tokens : {197, 1576, 12608}) {
    timed(rows.rescaled_product({tokens, 768, 768}));
    timed(rows.rescaled_product({tokens, 3072, 768}));
    timed(rows.scale_gradients({768, 768, tokens}));
    timed(rows.scale_gradients({3072, 768, tokens}));
    timed(rows.thin_product({tokens, 2 * kRank, 768}));
    timed(rows.updated_product({tokens, 768, 768}));
  }
  timed(rows.fold({768, 768, kRank}));
  timed(rows.fold({3072, 768, 12 * kRank}));
}

// ---- The program --------------------------------------------------------------------------------------------------------------

[[noreturn]] void leave_for(const std::string& mistake) {
  std::fprintf(stderr, "respeft_gpu_bench: %s\n%s", mistake.c_str(), kUsage);
  std::exit(2);
}

double number(const std::string& option, const char* text, double least) {
  char* end = nullptr;
  const double value = text ? std::strtod(text, &end) : 0.0;
  if (!text || end == text || *end != '\0' || !std::isfinite(value) || value < least) {
    leave_for(option + " takes a number of at least " + std::to_string(static_cast<int>(least)));
  }
  return value;
}

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--tolerance") {
      options.tolerance = number(argument, arguments[++i], 1.0);
    } else if (argument == "--rounds") {
      options.rounds = static_cast<int>(number(argument, arguments[++i], 1.0));
    } else if (argument == "--device") {
      options.device_alone = true;
    } else if (argument == "--help" || argument == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    } else {
      leave_for("unknown argument " + argument);
    }
  }
  return options;
}

int measure(const Options& options) {
  const auto* properties = at::cuda::getCurrentDeviceProperties();
  const auto& gpu = respeft::ops::cuda::gpu();
  std::printf("%s, compute capability %d.%d, %d SMs", properties->name, properties->major, properties->minor,
              properties->multiProcessorCount);
  if (options.device_alone) {
    std::puts("");
    return 0;
  }
  std::printf("; predicted with the limits of %s\n", gpu.name);
  const at::NoGradGuard no_grad;
  at::globalContext().setAllowTF32CuBLAS(true);
  std::vector<std::string> faults;
  run_all<at::BFloat16>("bfloat16", options, faults);
  run_all<float>("float32 through TF32", options, faults);
  for (const auto& fault : faults) std::fprintf(stderr, "%s\n", fault.c_str());
  return faults.empty() ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  const auto options = parse(count, arguments);
  if (const auto why = test::why_no_device(); !why.empty()) {
    std::fprintf(stderr, "SKIPPED: %s\n", why.c_str());
    return options.device_alone ? 1 : 0;
  }
  try {
    return measure(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "respeft_gpu_bench: %s\n", error.what());
    return 1;
  }
}
