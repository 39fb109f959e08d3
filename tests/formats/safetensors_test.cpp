#include <respeft/formats/safetensors.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <respeft/formats/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::formats {
namespace {

using test::expect_error;
using test::Folder;

/// A file as the format describes it: length of the header, header, data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

TEST(Safetensors, ReadsAHandWrittenFile) {
  const Folder folder;
  const float values[] = {1.5f, -2.0f, 0.25f, 8.0f, 3.0f, 1e-20f};
  const std::string data(reinterpret_cast<const char*>(values), sizeof values);
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}   )";
  SafetensorsFile file(folder.write("f", file_of(header, data)));
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}}));
  EXPECT_EQ(file.entries().size(), 2u);
  EXPECT_TRUE(file.contains("a"));
  EXPECT_FALSE(file.contains("c"));
  EXPECT_TRUE(at::equal(file.tensor("b"), at::tensor({1.5f, -2.0f, 0.25f, 8.0f}).view({2, 2})));
  EXPECT_TRUE(at::equal(file.tensor("a"), at::tensor({3.0f, 1e-20f})));
  expect_error<std::runtime_error>([&] { file.tensor("c"); }, {folder / "f", "'c'"});
  const SafetensorsFile moved(std::move(file));
  EXPECT_TRUE(at::equal(moved.tensor("a"), at::tensor({3.0f, 1e-20f})));
}

TEST(Safetensors, AHeadersLengthMayReadAsAnotherFormatsFirstBytes) {
  const Folder folder;
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize(0x8b1f, ' ');  // gzip's first bytes, as a number
  const SafetensorsFile file(folder.write("f", file_of(header, std::string(4, '\0'))));
  EXPECT_TRUE(at::equal(file.tensor("a"), at::zeros({1})));
}

TEST(Safetensors, RoundTripsEveryDtypeAndShape) {
  const Folder folder;
  at::manual_seed(0);
  TensorMap tensors;
  for (const auto dtype :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte, at::kBool}) {
    const std::string name = c10::toString(dtype);
    tensors[name] = at::randn({3, 5}).mul(50).abs().to(dtype);
    tensors[name + ".scalar"] = at::ones({}, dtype);
    tensors[name + ".empty"] = at::empty({0, 7}, dtype);
    tensors[name + ".strided"] = at::randn({4, 6}).mul(50).abs().to(dtype).t().slice(0, 0, 6, 2);
  }
  save_safetensors(folder / "f", tensors, {{"key", "value \"quoted\" ü"}});
  const SafetensorsFile file(folder / "f");
  EXPECT_EQ(file.metadata(), (Metadata{{"key", "value \"quoted\" ü"}}));
  const TensorMap read = file.tensors();
  ASSERT_EQ(read.size(), tensors.size());
  for (const auto& [key, tensor] : tensors) {
    ASSERT_TRUE(read.count(key)) << key;
    EXPECT_EQ(read.at(key).scalar_type(), tensor.scalar_type()) << key;
    EXPECT_EQ(read.at(key).sizes(), tensor.sizes()) << key;
    EXPECT_TRUE(at::equal(read.at(key), tensor)) << key;
  }
}

TEST(Safetensors, WritesKeysInOrderAndAlignsTheData) {
  const Folder folder;
  save_safetensors(folder / "f", {{"b", at::ones({2})}, {"a", at::zeros({1})}, {"byte", at::ones({3}, at::kByte)}});
  const std::string bytes = read_file(folder / "f");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const std::string header = bytes.substr(8, length);
  EXPECT_LT(header.find("\"a\""), header.find("\"b\""));
  EXPECT_LT(header.find("\"b\""), header.find("\"byte\"")) << "the widest elements come first, so that each tensor is aligned";
  EXPECT_EQ(header.find("__metadata__"), std::string::npos);
  EXPECT_EQ(bytes.size(), 8 + length + 12 + 3);
}

TEST(Safetensors, RoundTripsNoTensors) {
  const Folder folder;
  save_safetensors(folder / "f", {}, {});
  EXPECT_TRUE(SafetensorsFile(folder / "f").entries().empty());
}

TEST(Safetensors, ReadsOddBooleansAsTrue) {
  const Folder folder;
  const SafetensorsFile file(
      folder.write("f", file_of(R"({"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", {'\0', '\xff', '\1'})));
  EXPECT_EQ(file.tensor("a").sum().item<int64_t>(), 2);
}

struct BrokenFile {
  std::string name;
  std::string bytes;
  std::vector<std::string> faults;  ///< what the error must say
};

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets, size_t data_bytes) {
  return file_of("{" + entry("w", dtype, shape, offsets) + "}", std::string(data_bytes, '\0'));
}

std::vector<BrokenFile> broken_files() {
  const std::string good = entry("a", "F32", "[2]", "[0,8]");
  const auto two = [&](const std::string& second, size_t bytes) {
    return file_of("{" + good + "," + second + "}", std::string(bytes, '\0'));
  };
  std::string ones;
  for (int i = 0; i < 64; ++i) ones += ",1";
  const auto header = [](const std::string& text) { return file_of(text, ""); };
  return {
      {"empty", "", {"0 bytes are too few"}},
      {"seven bytes", "1234567", {"7 bytes are too few"}},
      {"not safetensors", "PK\3\4 this is a zip archive, honestly", {"not a safetensors file"}},
      {"header longer than the file",
       std::string("\xff\0\0\0\0\0\0\0{}", 10),
       {"declares a header of 255 bytes", "has 10 bytes"}},
      {"header of 2^64-1", std::string(8, '\xff') + "{}", {"18446744073709551615"}},
      {"no header", file_of("", ""), {"not valid JSON"}},
      {"truncated JSON", header(R"({"a":{"dtype":"F32",)"), {"not valid JSON"}},
      {"text after JSON", header("{} x"), {"not valid JSON"}},
      {"bad UTF-8", header("{\"\xff\xfe\":{}}"), {"not valid JSON"}},
      {"array", header("[]"), {"not a JSON object"}},
      {"number", header("7"), {"not a JSON object"}},
      {"deep nesting", header(std::string(1'000'000, '[')), {"not a JSON object"}},
      {"deep nesting in an entry", header(R"({"a":)" + std::string(1'000'000, '[')), {"'a'", "must be an object"}},
      {"deep objects", header(R"({"a":{"shape":{"b":)"), {"'a'", "an object where none belongs"}},
      {"entry is null", header(R"({"a":null})"), {"'a'", "must be an object, is null"}},
      {"metadata is a list", header(R"({"__metadata__":[]})"), {"'__metadata__'", "must be an object"}},
      {"metadata holds a number", header(R"({"__metadata__":{"k":1}})"), {"'__metadata__'", "'k' must be a string"}},
      {"metadata twice", header(R"({"__metadata__":{},"__metadata__":{}})"), {"'__metadata__'", "appears twice"}},
      {"metadata key twice", header(R"({"__metadata__":{"k":"1","k":"2"}})"), {"'k' appears twice"}},
      {"no dtype", header(R"({"a":{"shape":[],"data_offsets":[0,4]}})"), {"'a'", "'dtype' is missing"}},
      {"no shape", header(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})"), {"'a'", "'shape' is missing"}},
      {"no offsets", header(R"({"a":{"dtype":"F32","shape":[]}})"), {"'a'", "'data_offsets' is missing"}},
      {"unknown field", header(R"({"a":{"dtype":"F32","strides":[1]}})"), {"'a'", "unknown field 'strides'"}},
      {"dtype twice", header(R"({"a":{"dtype":"F32","dtype":"F16"}})"), {"'a'", "'dtype' appears twice"}},
      {"shape twice", header(R"({"a":{"shape":[1],"shape":[1]}})"), {"'a'", "'shape' appears twice"}},
      {"offsets twice", header(R"({"a":{"data_offsets":[0,1],"data_offsets":[0,1]}})"), {"'a'", "'data_offsets' appears twice"}},
      {"unknown dtype", one("F33", "[1]", "[0,4]", 4), {"'w'", "unknown dtype 'F33'"}},
      {"dtype is a number", header(R"({"a":{"dtype":32}})"), {"'a'", "'dtype' must be a string"}},
      {"shape is a string", header(R"({"a":{"shape":"2"}})"), {"'a'", "'shape' must be a list of sizes"}},
      {"negative size", one("F32", "[-1]", "[0,4]", 4), {"'w'", "'shape' must be a list of sizes, has the number -1"}},
      {"fractional size", one("F32", "[1.5]", "[0,4]", 4), {"'w'", "has the number 1.5"}},
      {"size beyond 63 bits",
       one("F32", "[9223372036854775808]", "[0,4]", 4),
       {"'w'", "dimension 9223372036854775808 is too large"}},
      {"size beyond 64 bits", one("F32", "[18446744073709551616]", "[0,4]", 4), {"'w'", "has the number"}},
      {"product overflows", one("F32", "[4294967296,4294967296]", "[0,4]", 4), {"'w'", "[4294967296, 4294967296] is too large"}},
      {"product overflows to the right size", one("F32", "[4611686018427387905]", "[0,4]", 4), {"'w'", "too large"}},
      {"empty with huge strides", one("F32", "[0,4294967296,4294967296]", "[0,0]", 0), {"'w'", "too large"}},
      {"too many dimensions", one("F32", "[1" + ones + "]", "[0,4]", 4), {"'w'", "more than 64 dimensions"}},
      {"one offset", one("F32", "[1]", "[0]", 4), {"'w'", "'data_offsets' must be two numbers"}},
      {"three offsets", one("F32", "[1]", "[0,4,8]", 4), {"'w'", "'data_offsets' must be two numbers"}},
      {"backward offsets", one("F32", "[1]", "[4,0]", 4), {"'w'", "ends at 0, before it begins at 4"}},
      {"negative offset", one("F32", "[1]", "[-4,0]", 4), {"'w'", "'data_offsets' must be two offsets"}},
      {"data cut off", one("F32", "[2]", "[0,8]", 7), {"'w'", "ends at byte 8, the file's data at 7"}},
      {"offsets beyond the file",
       one("F32", "[1]", "[18446744073709551611,18446744073709551615]", 4),
       {"'w'", "cut off or damaged"}},
      {"offsets too long for the shape",
       one("F32", "[1]", "[0,8]", 8),
       {"'w'", "shape [1] of F32 takes 4 bytes, its data has 8"}},
      {"offsets too short for the shape",
       one("BF16", "[3]", "[0,4]", 4),
       {"'w'", "shape [3] of BF16 takes 6 bytes, its data has 4"}},
      {"huge shape in a small file", one("F32", "[1000000000000]", "[0,4]", 4), {"'w'", "takes 4000000000000 bytes"}},
      {"same key twice", two(entry("a", "F32", "[2]", "[8,16]"), 16), {"'a'", "appears twice"}},
      {"same data", two(entry("b", "F32", "[2]", "[0,8]"), 8), {"'b'", "overlaps that of 'a'"}},
      {"partial overlap", two(entry("b", "F32", "[2]", "[4,12]"), 12), {"'b'", "overlaps that of 'a'"}},
      {"hole", two(entry("b", "F32", "[1]", "[12,16]"), 16), {"'b'", "4 unused bytes lie before"}},
      {"hole at the start", one("F32", "[1]", "[4,8]", 8), {"'w'", "4 unused bytes lie before"}},
      {"bytes left over", one("F32", "[1]", "[0,4]", 9), {"5 bytes after the last tensor's data"}},
  };
}

TEST(Safetensors, RefusesBrokenFiles) {
  const Folder folder;
  for (const auto& broken : broken_files()) {
    SCOPED_TRACE(broken.name);
    const std::string path = folder.write("broken", broken.bytes);
    std::vector<std::string> parts = broken.faults;
    parts.push_back(path);
    expect_error<std::runtime_error>([&] { SafetensorsFile file(path); }, parts);
  }
}

TEST(Safetensors, EveryTruncationOfAGoodFileIsRefused) {
  const Folder folder;
  save_safetensors(folder / "good", {{"a", at::ones({2, 3})}, {"b", at::ones({1}, at::kHalf)}}, {{"k", "v"}});
  const std::string good = read_file(folder / "good");
  for (size_t length = 0; length < good.size(); ++length) {
    const std::string path = folder.write("cut", good.substr(0, length));
    EXPECT_THROW(SafetensorsFile{path}, std::runtime_error) << length << " of " << good.size() << " bytes";
  }
}

/// Every single-byte change either is refused or leaves a file whose tensors can all be read.
TEST(Safetensors, NoDamagedByteDoesHarm) {
  const Folder folder;
  save_safetensors(folder / "good", {{"a", at::ones({2, 3})}, {"b", at::ones({2}, at::kBool)}}, {{"k", "v"}});
  const std::string good = read_file(folder / "good");
  size_t refused = 0;
  for (size_t position = 0; position < good.size(); ++position) {
    for (const int change : {0x01, 0x02, 0x10, 0x80}) {
      std::string bytes = good;
      bytes[position] = static_cast<char>(bytes[position] ^ change);
      try {
        const TensorMap tensors = SafetensorsFile(folder.write("damaged", bytes)).tensors();
        for (const auto& [key, tensor] : tensors) EXPECT_LE(tensor.nbytes(), good.size());
      } catch (const std::runtime_error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, good.size());
}

TEST(Safetensors, RefusesWhatIsNotAFile) {
  const Folder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error<std::runtime_error>([&] { SafetensorsFile file(folder.path()); }, {folder.path(), "Is a directory"});
  expect_error<std::runtime_error>([&] { SafetensorsFile file(folder / "none"); }, {folder / "none", "No such file"});
  expect_error<std::runtime_error>([&] { SafetensorsFile file(folder / "pipe"); }, {folder / "pipe", "Invalid argument"});
}

TEST(Safetensors, RefusesTensorsItCannotWrite) {
  const Folder folder;
  const std::string path = folder / "out";
  const auto save = [&](const std::string& key, const at::Tensor& tensor) {
    return [&, key, tensor] { save_safetensors(path, {{key, tensor}}); };
  };
  expect_error<std::runtime_error>(save("c", at::ones({1}, at::kComplexFloat)), {path, "'c'", "ComplexFloat"});
  expect_error<std::runtime_error>(save("m", at::empty({1}, at::TensorOptions(at::kMeta))), {path, "'m'", "no data"});
  expect_error<std::runtime_error>(save("u", {}), {path, "'u'", "undefined"});
  expect_error<std::runtime_error>(save("__metadata__", at::ones({1})), {path, "'__metadata__'", "reserved"});
  expect_error<std::runtime_error>(save("\xff", at::ones({1})), {path, "UTF-8"});
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace respeft::formats
