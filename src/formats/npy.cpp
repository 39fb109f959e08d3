#include "src/formats/npy.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <stdexcept>
#include <string>

#include "src/formats/bytes.h"
#include "src/formats/shape.h"

namespace respeft::formats {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
/// NumPy's default limit (`max_header_size`).
constexpr size_t kMaxHeaderBytes = 10'000;

[[noreturn]] void fail(const std::string& fault) {
  throw std::runtime_error(fault);
}

struct DtypeName {
  std::string_view name;
  at::ScalarType dtype;
};
/// NumPy's type names without the byte order. NumPy does not know JAX's bfloat16 and writes it as two-byte void.
constexpr DtypeName kDtypes[] = {{"f8", at::kDouble}, {"f4", at::kFloat},  {"f2", at::kHalf},   {"V2", at::kBFloat16},
                                 {"i8", at::kLong},   {"i4", at::kInt},    {"i2", at::kShort},  {"i1", at::kChar},
                                 {"u8", at::kUInt64}, {"u4", at::kUInt32}, {"u2", at::kUInt16}, {"u1", at::kByte},
                                 {"b1", at::kBool}};

/// Reads the Python dictionary of a header: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  NpyHeader parse() {
    expect('{');
    while (!take('}')) {
      const auto key = quoted();
      expect(':');
      read_field(key);
      if (!take(',') && !peek('}')) fail("the array's header is not as NumPy writes it");
    }
    if (!has_descr_ || !has_order_ || !has_shape_) fail("the array's header lacks descr, fortran_order or shape");
    skip_blanks();
    if (!text_.empty()) fail("something follows the array's header");
    return header_;
  }

 private:
  void read_field(std::string_view key) {
    if (key == "descr" && !std::exchange(has_descr_, true)) return read_dtype();
    if (key == "shape" && !std::exchange(has_shape_, true)) return read_shape();
    if (key != "fortran_order" || std::exchange(has_order_, true)) {
      fail(fmt::format("the array's header has '{}' where it does not belong", key));
    }
    skip_blanks();
    header_.fortran_order = text_.starts_with("True");
    if (!header_.fortran_order && !text_.starts_with("False")) fail("the array's fortran_order is neither True nor False");
    text_.remove_prefix(header_.fortran_order ? 4 : 5);
  }

  void read_dtype() {
    if (peek('[')) fail("an array of records is not read");
    const auto name = quoted();
    if (name.ends_with("O")) fail("an array of Python objects is not read");
    header_.big_endian = name.starts_with(">");
    for (const auto& known : kDtypes) {
      if (name.size() == 3 && name.substr(1) == known.name && std::string_view("<>|=").find(name[0]) != std::string_view::npos) {
        header_.dtype = known.dtype;
        return;
      }
    }
    fail(fmt::format("an array of dtype '{}' is not read", name));
  }

  void read_shape() {
    expect('(');
    while (!take(')')) {
      skip_blanks();
      int64_t size = -1;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0) fail("the array's shape is not a tuple of sizes");
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      header_.shape.push_back(size);
      if (header_.shape.size() > kMaxDimensions) fail(fmt::format("the array has more than {} dimensions", kMaxDimensions));
      if (!take(',') && !peek(')')) fail("the array's shape is not a tuple of sizes");
    }
  }

  std::string_view quoted() {
    skip_blanks();
    const char quote = text_.empty() ? '\0' : text_[0];
    const size_t end = quote == '\'' || quote == '"' ? text_.find(quote, 1) : std::string_view::npos;
    if (end == std::string_view::npos) fail("the array's header is not as NumPy writes it");
    const auto content = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return content;
  }

  void skip_blanks() { text_.remove_prefix(std::min(text_.find_first_not_of(" \t\n"), text_.size())); }
  bool peek(char wanted) {
    skip_blanks();
    return text_.starts_with(wanted);
  }
  bool take(char wanted) {
    const bool there = peek(wanted);
    if (there) text_.remove_prefix(1);
    return there;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail("the array's header is not as NumPy writes it");
  }

  std::string_view text_;
  NpyHeader header_;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

/// `data` with the bytes of each number reversed.
at::Tensor swapped(const at::Tensor& data) {
  const auto size = static_cast<int64_t>(data.element_size());
  return data.reshape({-1}).view(at::kByte).reshape({-1, size}).flip(1).contiguous().view(data.scalar_type()).view(data.sizes());
}

}  // namespace

size_t npy_header_bytes(std::string_view start) {
  if (start.size() < 10 || !start.starts_with(kMagic)) fail("it is not a NumPy array");
  const int version = static_cast<unsigned char>(start[6]);
  if (version < 1 || version > 3 || (version > 1 && start.size() < kNpyStartBytes)) {
    fail(fmt::format("NumPy's array format of version {} is not read", version));
  }
  const size_t length = version == 1 ? number_at<uint16_t>(start, 8) : number_at<uint32_t>(start, 8);
  if (length > kMaxHeaderBytes) fail(fmt::format("the array's header of {} bytes is too large", length));
  return length + (version == 1 ? 10 : 12);
}

NpyHeader parse_npy_header(std::string_view header) {
  const size_t prefix = static_cast<unsigned char>(header[6]) == 1 ? 10 : 12;
  NpyHeader parsed = HeaderParser(header.substr(std::min(prefix, header.size()))).parse();
  parsed.data_bytes();
  return parsed;
}

uint64_t NpyHeader::data_bytes() const {
  return tensor_bytes(dtype, shape);
}

at::Tensor NpyHeader::array(at::Tensor data) const {
  // A byte other than 0 or 1 is not a valid bool, so booleans are read as numbers.
  data = dtype == at::kBool ? data.ne(0) : data.view(dtype);
  if (big_endian) data = swapped(data);
  if (!fortran_order) return data.view(shape);
  std::vector<int64_t> order(shape.size());
  std::iota(order.rbegin(), order.rend(), 0);
  return data.view(std::vector<int64_t>(shape.rbegin(), shape.rend())).permute(order).contiguous();
}

}  // namespace respeft::formats
