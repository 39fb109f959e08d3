#pragma once

#include <cstdint>
#include <memory>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/transforms.h>
#include <respeft/data/source.h>

namespace respeft::data {

/// A dataset's images, read and transformed by `workers` threads ahead of their use: batches of `pixels` and `labels`.
std::shared_ptr<const Source> image_source(DatasetPtr dataset, const Transform& transform, int64_t workers);

}  // namespace respeft::data
