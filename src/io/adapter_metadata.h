#pragma once

#include <respeft/io/adapter_file.h>

namespace respeft::io {

/// What an adapter file's metadata say besides the method: model, preprocessing and, where they are known, base, class names and
/// pooling.
Metadata description(const AdapterInfo& info);
/// The other direction; what is missing stays empty. Throws `std::runtime_error` that names the key and the fault.
void read_description(const Metadata& metadata, AdapterInfo& info);

}  // namespace respeft::io
