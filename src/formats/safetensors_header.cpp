#include "src/formats/safetensors_header.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "src/formats/shape.h"

namespace respeft::formats {
namespace {

struct NamedDtype {
  const char* name;
  at::ScalarType dtype;
};

constexpr NamedDtype dtype_names[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
    {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool},
};

/// Receives the header's JSON as a stream of events. No document is built, so nesting and repeated keys cost nothing.
///
///     {"__metadata__": {"key": "value", …}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& path, SafetensorsHeader& header) : path_(path), header_(header) {}

  bool start_object(size_t) override {
    if (place_ == Place::Start) return move_to(Place::Top);
    if (place_ == Place::TopValue) return move_to(name_ == "__metadata__" ? Place::Metadata : Place::Entry);
    fail("an object where none belongs");
  }

  bool end_object() override {
    if (place_ == Place::Entry) finish_entry();
    return move_to(place_ == Place::Top ? Place::End : Place::Top);
  }

  bool key(string_t& key) override {
    if (place_ == Place::Top) {
      name_ = key;
      if (name_ == "__metadata__" ? std::exchange(has_metadata_, true) : header_.entries.count(name_) != 0) fail("appears twice");
      return move_to(Place::TopValue);
    }
    field_ = key;
    if (place_ == Place::Metadata) {
      if (header_.metadata.count(field_) != 0) fail(fmt::format("'{}' appears twice", field_));
      return move_to(Place::MetadataValue);
    }
    if (field_ == "dtype") return move_to(Place::Dtype);
    if (field_ == "shape") return move_to(Place::BeforeShape);
    if (field_ == "data_offsets") return move_to(Place::BeforeOffsets);
    fail(fmt::format("unknown field '{}'", field_));
  }

  bool string(string_t& value) override {
    if (place_ == Place::MetadataValue) {
      header_.metadata[field_] = value;
      return move_to(Place::Metadata);
    }
    if (place_ != Place::Dtype) fail(misplaced("a string"));
    if (dtype_) fail("'dtype' appears twice");
    dtype_ = dtype(value);
    return move_to(Place::Entry);
  }

  bool start_array(size_t) override {
    if (place_ == Place::BeforeShape) {
      if (std::exchange(has_shape_, true)) fail("'shape' appears twice");
      return move_to(Place::Shape);
    }
    if (place_ == Place::BeforeOffsets) {
      if (std::exchange(has_offsets_, true)) fail("'data_offsets' appears twice");
      return move_to(Place::Offsets);
    }
    fail(misplaced("an array"));
  }

  bool end_array() override { return move_to(Place::Entry); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::Shape) {
      if (value > uint64_t{std::numeric_limits<int64_t>::max()}) fail(fmt::format("dimension {} is too large", value));
      if (shape_.size() == kMaxDimensions) fail(fmt::format("more than {} dimensions", kMaxDimensions));
      shape_.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::Offsets) {
      if (offsets_.size() == 2) fail("'data_offsets' must be two numbers");
      offsets_.push_back(value);
    } else {
      fail(misplaced("a number"));
    }
    return true;
  }

  bool number_integer(number_integer_t value) override { fail(misplaced(fmt::format("the number {}", value))); }
  bool number_float(number_float_t, const string_t& text) override { fail(misplaced(fmt::format("the number {}", text))); }
  bool null() override { fail(misplaced("null")); }
  bool boolean(bool) override { fail(misplaced("a boolean")); }
  bool binary(binary_t&) override { fail(misplaced("binary data")); }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string text = error.what();
    const size_t message = text.find("] ");  // preceded by the JSON library's error code
    throw std::runtime_error(fmt::format("{}: the header is not valid JSON, at byte {}: {}", path_, position,
                                         message == std::string::npos ? text : text.substr(message + 2)));
  }

 private:
  enum class Place {
    Start,
    Top,
    TopValue,
    Metadata,
    MetadataValue,
    Entry,
    Dtype,
    BeforeShape,
    Shape,
    BeforeOffsets,
    Offsets,
    End
  };

  bool move_to(Place place) {
    place_ = place;
    return true;
  }

  [[noreturn]] void fail(const std::string& fault) const {
    if (place_ == Place::Start) throw std::runtime_error(fmt::format("{}: the header is not a JSON object", path_));
    throw std::runtime_error(fmt::format("{}: '{}': {}", path_, name_, fault));
  }

  std::string misplaced(const std::string& what) const {
    switch (place_) {
      case Place::MetadataValue:
        return fmt::format("'{}' must be a string, is {}", field_, what);
      case Place::Dtype:
        return fmt::format("'dtype' must be a string, is {}", what);
      case Place::BeforeShape:
      case Place::Shape:
        return fmt::format("'shape' must be a list of sizes, has {}", what);
      case Place::BeforeOffsets:
      case Place::Offsets:
        return fmt::format("'data_offsets' must be two offsets, has {}", what);
      default:
        return fmt::format("must be an object, is {}", what);
    }
  }

  at::ScalarType dtype(const std::string& name) const {
    for (const auto& known : dtype_names) {
      if (name == known.name) return known.dtype;
    }
    fail(fmt::format("unknown dtype '{}'", name));
  }

  void finish_entry() {
    if (!dtype_) fail("'dtype' is missing");
    if (!has_shape_) fail("'shape' is missing");
    if (!has_offsets_) fail("'data_offsets' is missing");
    if (offsets_.size() != 2) fail("'data_offsets' must be two numbers");
    header_.entries.emplace(name_, SafetensorsFile::Entry{*dtype_, std::move(shape_), offsets_[0], offsets_[1]});
    dtype_.reset();
    has_shape_ = has_offsets_ = false;
    shape_.clear();
    offsets_.clear();
  }

  const std::string& path_;
  SafetensorsHeader& header_;
  Place place_ = Place::Start;
  std::string name_, field_;
  bool has_metadata_ = false, has_shape_ = false, has_offsets_ = false;
  std::optional<at::ScalarType> dtype_;
  std::vector<int64_t> shape_;
  std::vector<uint64_t> offsets_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path) {
  SafetensorsHeader header;
  HeaderHandler handler(path, header);
  nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  return header;
}

const char* safetensors_name(at::ScalarType dtype) {
  for (const auto& known : dtype_names) {
    if (dtype == known.dtype) return known.name;
  }
  return nullptr;
}

}  // namespace respeft::formats
