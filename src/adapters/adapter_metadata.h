#pragma once

#include <respeft/adapters/adapter_file.h>

namespace respeft::adapters {

/// What an adapter file's metadata say besides the method: model, preprocessing and, where they are known, base, class names and
/// pooling.
formats::Metadata description(const AdapterInfo& info);
/// The other direction; what is missing stays empty. Throws `std::runtime_error` that names the key and the fault.
void read_description(const formats::Metadata& metadata, AdapterInfo& info);

}  // namespace respeft::adapters
