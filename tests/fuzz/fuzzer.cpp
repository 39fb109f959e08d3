#include "tests/fuzz/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& reader = respeft::fuzz::reader(RESPEFT_FUZZED);
  respeft::fuzz::read({reinterpret_cast<const char*>(data), size}, reader);
  return 0;
}
