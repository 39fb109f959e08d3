#include <respeft/core/runtime.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <mutex>
#include <stdexcept>
#include <vector>

namespace respeft {
namespace {

void check_precision(at::Device device, const std::string& precision) {
  if (precision != "float32" && precision != "bfloat16")
    throw std::invalid_argument(fmt::format("precision: unknown '{}'; known: float32, bfloat16", precision));
  if (precision != "float32" && !at::autocast::is_autocast_available(device.type()))
    throw std::invalid_argument(fmt::format("precision: {} is not possible on {}: it has no autocast", precision, device.str()));
}

/// The device with its number, e.g. `cuda:0` for `cuda`.
at::Device numbered(at::Device device) {
  if (device.is_cpu() || device.has_index()) return device;
  return c10::impl::VirtualGuardImpl(device.type()).getDevice();
}

std::vector<std::pair<std::string, at::Generator>> generators_of(at::Device device) {
  std::vector<std::pair<std::string, at::Generator>> generators;
  generators.emplace_back("generator", at::globalContext().defaultGenerator(at::kCPU));
  if (device.is_cpu() || device.is_meta()) return generators;
  device = numbered(device);
  generators.emplace_back("generator." + device.str(), at::globalContext().defaultGenerator(device));
  return generators;
}

}  // namespace

Autocast::Autocast(at::Device device, const std::string& precision)
    : device_(device.type()), available_(at::autocast::is_autocast_available(device_)) {
  check_precision(device, precision);
  if (!available_) return;
  enabled_before_ = at::autocast::is_autocast_enabled(device_);
  dtype_before_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_enabled(device_, precision != "float32");
  at::autocast::set_autocast_dtype(device_, at::kBFloat16);
}

Autocast::~Autocast() {
  if (!available_) return;
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, enabled_before_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
}

Runtime::Runtime(const RuntimeOptions& options) : options_(options) {
  check_precision(options.device, options.precision);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
}

void Runtime::seed(uint64_t seed) const {
  for (auto& [name, generator] : generators_of(options_.device)) {
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(seed);
  }
}

TensorMap Runtime::generators() const {
  TensorMap states;
  for (const auto& [name, generator] : generators_of(options_.device)) states[name] = generator.get_state();
  return states;
}

void Runtime::restore_generators(const TensorMap& tensors) const {
  auto generators = generators_of(options_.device);
  for (const auto& [name, generator] : generators) {
    if (tensors.find(name) == tensors.end()) throw std::runtime_error(fmt::format("the checkpoint has no '{}'", name));
  }
  for (auto& [name, generator] : generators) {
    try {
      generator.set_state(tensors.at(name));
    } catch (const c10::Error& error) {
      throw std::runtime_error(
          fmt::format("the checkpoint's '{}' is no generator's state: {}", name, error.what_without_backtrace()));
    }
  }
}

void Runtime::synchronize() const {
  if (options_.device.is_cpu() || options_.device.is_meta()) return;
  c10::impl::VirtualGuardImpl(options_.device.type()).synchronizeDevice(numbered(options_.device).index());
}

int64_t Runtime::peak_memory() const {
  if (options_.device.is_cpu()) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return int64_t{usage.ru_maxrss} * 1024;  // Linux counts KiB
  }
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(options_.device.type()));
  if (!allocator || !allocator->initialized()) return 0;
  const auto stats = allocator->getDeviceStats(numbered(options_.device).index());
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

}  // namespace respeft
