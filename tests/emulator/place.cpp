#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "device.h"

namespace emulator::device {
namespace {

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// Whether a line belongs to the toolkit, the standard library or the emulator, rather than to a kernel.
bool foreign(const std::string& line) {
  const auto name = base_name(line);
  return name.starts_with("cuda_") || name.starts_with("vector_") || name == "emulator.h" ||
         line.find("/shim/") != std::string::npos || line.find("/include/c++/") != std::string::npos || line.starts_with("??");
}

/// The lines that an address belongs to, from the innermost inlined function outwards.
std::vector<std::string> source_lines(const void* address) {
  Dl_info object{};
  if (!dladdr(address, &object) || !object.dli_fbase) return {};
  std::array<char, 4096> path{};
  if (readlink("/proc/self/exe", path.data(), path.size() - 1) < 0) return {};
  // The program is known to the loader under the name it was called by, which may not be a path.
  const std::string file = access(object.dli_fname, R_OK) == 0 ? object.dli_fname : path.data();
  std::array<char, 32> offset{};
  const auto before_return = static_cast<const char*>(address) - 1 - static_cast<const char*>(object.dli_fbase);
  std::snprintf(offset.data(), offset.size(), "%#tx", before_return);
  const std::unique_ptr<FILE, int (*)(FILE*)> output(
      popen(("addr2line -i -e '" + file + "' " + offset.data() + " 2>/dev/null").c_str(), "r"), pclose);
  std::vector<std::string> lines;
  for (std::array<char, 4096> line{}; output && std::fgets(line.data(), line.size(), output.get());) {
    const std::string text = line.data();
    lines.push_back(text.substr(0, text.find_first_of(" \n")));  // without "(discriminator 2)"
  }
  return lines;
}

std::string describe_address(const void* address) {
  static std::map<const void*, std::string> known;
  auto& text = known[address];
  if (!text.empty()) return text;
  const auto lines = source_lines(address);
  std::vector<std::string> own;
  for (const auto& line : lines)
    if (!foreign(line)) own.push_back(base_name(line));
  if (own.empty()) {
    std::array<char, 32> number{};
    std::snprintf(number.data(), number.size(), "%p", address);
    return text = lines.empty() || lines[0].starts_with("??") ? number.data() : base_name(lines[0]);
  }
  return text = own.size() == 1 ? own[0] : own[0] + " (from " + own[1] + ")";
}

}  // namespace

std::string Place::describe() const {
  const auto* pointer = reinterpret_cast<const char*>(bits_ & ((uint64_t{1} << kPointerBits) - 1));
  switch (static_cast<Kind>(bits_ >> kPointerBits)) {
    case Kind::Source: {
      const auto source = std::bit_cast<std::source_location>(pointer);
      return base_name(source.file_name()) + ":" + std::to_string(source.line());
    }
    case Kind::Address:
      return describe_address(pointer);
    case Kind::Text:
      return pointer;
    case Kind::None:
      break;
  }
  return "an unknown place";
}

}  // namespace emulator::device
