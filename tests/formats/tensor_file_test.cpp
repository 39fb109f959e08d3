#include <respeft/formats/tensor_file.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <respeft/formats/file.h>
#include <zlib.h>

#include "src/formats/npy.h"
#include "src/formats/pickle.h"
#include "src/formats/zip.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

// Files of the real libraries are read in tests/interop; here they are written byte by byte, one fault at a time.
namespace respeft::formats {
namespace {

using test::expect_error;
using test::Folder;

template <class Number>
std::string number(Number value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
std::string u16(size_t value) {
  return number(static_cast<uint16_t>(value));
}
std::string u32(size_t value) {
  return number(static_cast<uint32_t>(value));
}

/// One entry of an archive; what is not set is as it should be.
struct Part {
  std::string name, content;
  std::optional<std::string> local_name;
  uint16_t method = 0, flags = 0;
  std::optional<size_t> size, compressed, crc, header;
};

std::string deflate(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zip(const std::vector<Part>& parts) {
  std::string file, directory;
  for (const auto& part : parts) {
    const std::string data = part.method == 8 ? deflate(part.content) : part.content;
    const auto crc =
        part.crc.value_or(crc32(0, reinterpret_cast<const Bytef*>(part.content.data()), static_cast<uInt>(part.content.size())));
    const auto common = u16(20) + u16(part.flags) + u16(part.method) + u32(0) + u32(crc) +
                        u32(part.compressed.value_or(data.size())) + u32(part.size.value_or(part.content.size()));
    directory += u32(0x02014b50) + u16(20) + common + u16(part.name.size()) + u16(0) + u16(0) + u16(0) + u16(0) + u32(0) +
                 u32(part.header.value_or(file.size())) + part.name;
    const std::string local = part.local_name.value_or(part.name);
    file += u32(0x04034b50) + common + u16(local.size()) + u16(0) + local + data;
  }
  return file + directory + u32(0x06054b50) + u16(0) + u16(0) + u16(parts.size()) + u16(parts.size()) + u32(directory.size()) +
         u32(file.size()) + u16(0);
}

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  const std::string text = header + "\n";
  return "\x93NUMPY" + std::string{version, '\0'} + (version == 1 ? u16(text.size()) : u32(text.size())) + text + data;
}

std::string array(const std::string& descr, const std::string& shape, const std::string& data, bool fortran = false) {
  return npy(fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", descr, fortran ? "True" : "False", shape),
             data);
}

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

TEST(Npz, ReadsStoredAndDeflatedArrays) {
  const Folder folder;
  const std::string path = folder.write(
      "f", zip({{.name = "a.npy", .content = array("<f4", "(2, 3)", floats({1, 2, 3, 4, 5, 6}))},
                {.name = "b/c.npy", .content = array("<f4", "(2, 3)", floats({1, 4, 2, 5, 3, 6}), true), .method = 8},
                {.name = "big.npy", .content = array(">i2", "(2,)", std::string("\1\2\3\4", 4))},
                {.name = "half.npy",
                 .content = npy("{'shape': (), \"fortran_order\": False, 'descr': '|V2'}", std::string("\x80\x3f", 2), 3)},
                {.name = "none.npy", .content = array("<f8", "(0, 7)", "")},
                {.name = "flags.npy", .content = array("|b1", "(2,)", std::string("\0\7", 2))}}));
  const auto file = open_tensor_file(path);
  EXPECT_EQ(file->format(), "npz");
  const auto a = at::arange(1, 7, at::kFloat).view({2, 3});
  EXPECT_TRUE(at::equal(file->tensor("a"), a) && at::equal(file->tensor("b/c"), a));
  EXPECT_TRUE(at::equal(file->tensor("big"), at::tensor({0x102, 0x304}, at::kShort)));
  EXPECT_TRUE(at::equal(file->tensor("half"), at::ones({}, at::kBFloat16)));
  EXPECT_EQ(file->tensor("none").sizes(), at::IntArrayRef({0, 7}));
  EXPECT_TRUE(at::equal(file->tensor("flags"), at::tensor({0, 1}).to(at::kBool)));
  EXPECT_EQ(file->entries().at("a").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(file->shapes().at("a").is_meta());
  expect_error<std::runtime_error>([&] { file->tensor("d"); }, {path, "there is no tensor 'd'"});
}

struct Broken {
  std::string name, bytes;
  std::vector<std::string> faults;
};

TEST(Zip, RefusesBrokenArchives) {
  const Part good{.name = "a", .content = "aaaaaaaaaaaaaaaaaaaa"};
  const auto with = [&](auto change) {
    Part part = good;
    change(part);
    return zip({part});
  };
  const std::string whole = zip({good});
  const std::vector<Broken> all = {
      {"empty", "", {"no directory"}},
      {"cut", whole.substr(0, whole.size() - 1), {"no directory at its end"}},
      {"cut at its start", whole.substr(10), {"does not fit"}},
      {"bytes before it", "xx" + whole, {"directory is damaged"}},
      {"twice", zip({good, good}), {"'a'", "there twice"}},
      {"overlap", zip({good, {.name = "a", .content = "b", .header = 0}}), {"'a'", "overlaps"}},
      {"header beyond the end", with([](Part& p) { p.header = 1000; }), {"'a'", "header is not where"}},
      {"data beyond the end", with([](Part& p) { p.compressed = p.size = 10000; }), {"'a'", "do not fit"}},
      {"other name", with([](Part& p) { p.local_name = "b"; }), {"'a'", "differ"}},
      {"method", with([](Part& p) { p.method = 12; }), {"'a'", "method 12"}},
      {"encrypted", with([](Part& p) { p.flags = 1; }), {"'a'", "encrypted"}},
      {"stored size", with([](Part& p) { p.size = 21; }), {"'a'", "21 bytes cannot come from 20"}},
      {"bomb", with([](Part& p) { p.method = 8, p.size = 4'000'000'000; }), {"'a'", "4000000000 bytes cannot come from"}},
      {"checksum", with([](Part& p) { p.crc = 7; }), {"'a'", "checksum"}},
      {"deflated and too short", with([](Part& p) { p.method = 8, p.size = 21; }), {"'a'", "damaged"}},
      {"deflated and too long", with([](Part& p) { p.method = 8, p.size = 19; }), {"'a'", "checksum"}},
  };
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    auto faults = broken.faults;
    faults.push_back("FILE: ");
    expect_error<std::runtime_error>(
        [&] {
          const ZipArchive archive(broken.bytes, "FILE");
          for (const auto& [name, entry] : archive.entries()) ZipStream(archive, name).rest();
        },
        faults);
  }
}

TEST(Npz, RefusesBrokenArrays) {
  const std::string data = floats({1, 2});
  const std::vector<Broken> all = {
      {"no array", "hello, this is no array", {"not a NumPy array"}},
      {"short", "\x93NUM", {"not a NumPy array"}},
      {"version", npy("{}", "", 4), {"version 4"}},
      {"huge header", "\x93NUMPY\2" + std::string(1, '\0') + u32(1u << 31), {"header of 2147483648 bytes"}},
      {"cut header", "\x93NUMPY\1" + std::string(1, '\0') + u16(100) + "{'descr'", {"too early"}},
      {"no dictionary", npy("[]", data), {"not as NumPy writes it"}},
      {"lacking", npy("{'descr': '<f4'}", data), {"lacks"}},
      {"another key", npy("{'x': 1}", data), {"'x'"}},
      {"trailing", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1", data), {"follows"}},
      {"objects", array("|O", "(2,)", data), {"Python objects"}},
      {"text", array("<U4", "(2,)", data), {"'<U4'"}},
      {"complex", array("<c8", "(1,)", data), {"'<c8'"}},
      {"records", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", data), {"records"}},
      {"negative", array("<f4", "(-2,)", data), {"tuple of sizes"}},
      {"overflow", array("<f4", "(4294967296, 4294967296)", data), {"too large"}},
      {"empty and too large", array("<f4", "(0, 4294967296, 4294967296)", ""), {"too large"}},
      {"more than there is", array("<f4", "(3,)", data), {"shape [3]", "takes 12 bytes, its data has 8"}},
      {"less than there is", array("<f4", "(1,)", data), {"its data has 8"}},
  };
  const Folder folder;
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    const std::string path = folder.write("f.npz", zip({{.name = "w.npy", .content = broken.bytes, .method = 8}}));
    auto faults = broken.faults;
    faults.insert(faults.end(), {path, "'w.npy'"});
    expect_error<std::runtime_error>([&] { open_tensor_file(path); }, faults);
  }
  const std::string path = folder.write("f.npz", zip({{.name = "readme.txt", .content = "hello"}}));
  expect_error<std::runtime_error>([&] { open_tensor_file(path); }, {path, "'readme.txt'", ".npy"});
}

// ---- pickles

/// `{"w": tensor}` as protocol 2, with the tensor's arguments to be changed.
struct TensorPickle {
  std::string storage = "FloatStorage", key = "0", offset = "K" + std::string(1, '\0'), sizes = "K\2\x85", strides = "K\1\x85";
  std::string more;  // arguments after the hooks
  int numel = 2;

  static std::string text(const std::string& value) { return "X" + u32(value.size()) + value; }
  std::string bytes() const {
    return "\x80\2}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + storage + "\n" +
           text(key) + text("cpu") + "J" + number<int32_t>(numel) + "tQ" + offset + sizes + strides + "\x89" +
           "ccollections\nOrderedDict\n)R" + more + "tRs.";
  }
};

std::string pytorch(const std::string& pickle, const std::string& storage = floats({1, 2})) {
  return zip({{.name = "x/data.pkl", .content = pickle}, {.name = "x/data/0", .content = storage}});
}

TEST(Pytorch, ReadsTensors) {
  const Folder folder;
  const auto file = open_tensor_file(folder.write("f", pytorch(TensorPickle().bytes())));
  EXPECT_EQ(file->format(), "pytorch");
  EXPECT_TRUE(at::equal(file->tensor("w"), at::tensor({1.0f, 2.0f})));
}

TEST(Pytorch, ReadsTensorsWithoutMarks) {
  const Folder folder;
  for (const char* none : {"N", "}"}) {
    TensorPickle pickle;
    pickle.more = none;
    EXPECT_TRUE(at::equal(open_tensor_file(folder.write("f", pytorch(pickle.bytes())))->tensor("w"), at::tensor({1.0f, 2.0f})));
  }
}

TEST(Pytorch, RefusesBrokenTensors) {
  const auto with = [](auto change) {
    TensorPickle pickle;
    change(pickle);
    return pytorch(pickle.bytes());
  };
  const std::string minus = "J" + number<int32_t>(-1), huge = "\x8a\x08" + number<int64_t>(INT64_MAX);
  const std::vector<Broken> all = {
      {"offset", with([](auto& p) { p.offset = "K\1"; }), {"'w'", "beyond its storage"}},
      {"negative offset", with([&](auto& p) { p.offset = minus; }), {"'w'", "beyond its storage"}},
      {"huge offset", with([&](auto& p) { p.offset = huge; }), {"'w'", "beyond its storage"}},
      {"stride", with([](auto& p) { p.strides = "K\2\x85"; }), {"'w'", "strides [2]", "beyond its storage"}},
      {"huge stride", with([&](auto& p) { p.strides = huge + "\x85"; }), {"'w'", "beyond its storage"}},
      {"negative stride", with([&](auto& p) { p.strides = minus + "\x85"; }), {"'w'", "strides"}},
      {"negative size", with([&](auto& p) { p.sizes = minus + "\x85"; }), {"'w'", "sizes"}},
      {"other numbers", with([](auto& p) { p.sizes = "K\1K\2\x86"; }), {"'w'", "sizes and of strides"}},
      {"overflow", with([&](auto& p) { p.sizes = huge + huge + "\x86", p.strides = "K\1K\1\x86"; }), {"'w'", "too large"}},
      {"repeated",
       with([](auto& p) { p.sizes = "M\xe8\3\x85", p.strides = std::string("K\0\x85", 3); }),
       {"'w'", "shape [1000] repeats", "clone"}},
      {"negated", with([](auto& p) { p.more = "}" + TensorPickle::text("neg") + "\x88s"; }), {"marked 'neg'", "resolve_neg"}},
      {"odd marks", with([](auto& p) { p.more = "K\1"; }), {"marked '?'"}},
      {"storage too small", with([](auto& p) { p.numel = 3; }), {"'w'", "'x/data/0' of 8 bytes should have 3 numbers"}},
      {"negative storage", with([](auto& p) { p.numel = -1; }), {"'w'", "beyond its storage of -1"}},
      {"storage missing", with([](auto& p) { p.key = "../../etc"; }), {"'w'", "'x/data/../../etc' is missing"}},
      {"unknown storage", with([](auto& p) { p.storage = "QInt8Storage"; }), {"torch.QInt8Storage", "nothing is ever executed"}},
      {"compressed pickle",
       zip({{.name = "x/data.pkl", .content = TensorPickle().bytes(), .method = 8}}),
       {"'x/data.pkl'", "compressed"}},
      {"two", zip({{.name = "x/data.pkl"}, {.name = "y/data.pkl"}}), {"several data.pkl"}},
      {"big-endian",
       zip({{.name = "x/data.pkl", .content = TensorPickle().bytes()}, {.name = "x/byteorder", .content = "big"}}),
       {"'x/byteorder'", "little-endian"}},
      {"TorchScript", zip({{.name = "x/data.pkl"}, {.name = "x/constants.pkl"}}), {"TorchScript"}},
      {"bare pickle", "\x80\2\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19.", {"before version 1.6", "weights_only=True"}},
      {"another program's pickle", "\x80\4\x95" + std::string(20, '\0'), {"another program than PyTorch"}},
  };
  const Folder folder;
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    const std::string path = folder.write("f.pth", broken.bytes);
    auto faults = broken.faults;
    faults.push_back(path);
    expect_error<std::runtime_error>([&] { open_tensor_file(path); }, faults);
  }
}

TEST(Pickle, RefusesWhatIsNotPlain) {
  const std::string start = "\x80\2";
  const std::vector<Broken> all = {
      {"empty", "", {"cut off"}},
      {"protocol 0", "(dp0\n.", {"protocol 2 or later"}},
      {"protocol 9", "\x80\x09.", {"protocol 9"}},
      {"nothing on the stack", start + ".", {"more values than it has made"}},
      {"no stop", start + "N", {"cut off"}},
      {"os.system", start + "cos\nsystem\nX\2" + std::string(3, '\0') + "ls\x85R.", {"os.system", "nothing is ever executed"}},
      {"by the stack", "\x80\4\x8c\2os\x8c\6system\x93.", {"os.system"}},
      {"extension", start + "\x82\1.", {"instruction 0x82 at byte 2"}},
      {"instance", start + "(ios\nsystem\n.", {"instruction 0x69"}},
      {"calls a number", start + "K\1)R.", {"it calls a number"}},
      {"state of a list", start + "]Nb.", {"attributes to a list"}},
      {"append to a dict", start + "}Na.", {"as if it were a list"}},
      {"set in a list", start + "]NNs.", {"as if it were a dictionary"}},
      {"odd items", start + "}(Nu.", {"without a value"}},
      {"below the mark", start + "N(0.", {"more values than it has made"}},
      {"no mark", start + "Nt.", {"a mark that it has not made"}},
      {"no memo", start + "h\7.", {"value 7 of its memo"}},
      {"text beyond the end", start + "X" + u32(0xffffffff) + "a.", {"bytes are missing"}},
      {"text of 2^64", "\x80\4\x8d" + std::string(8, '\xff') + "a.", {"bytes are missing"}},
      {"outside", start + "NQ.", {"refers to something outside"}},
      {"tensor of nothing", start + "ctorch._utils\n_rebuild_tensor_v2\n)R.", {"arguments that PyTorch does not write"}},
  };
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    expect_error<std::runtime_error>([&] { Pickle{broken.bytes}; }, broken.faults);
  }
}

/// Values that hold themselves, and lists in lists, are no trouble.
TEST(Pickle, TakesCirclesAndDepth) {
  EXPECT_TRUE(Pickle(std::string("\x80\2]q\0h\0a.", 9)).root().is(PickleValue::Kind::sequence));
  const std::string deep = "\x80\2" + std::string(100'000, ']') + std::string(99'999, 'a') + ".";
  EXPECT_TRUE(Pickle(deep).root().is(PickleValue::Kind::sequence));
}

// ---- shards

TEST(Index, OpensShardsAndFolders) {
  const Folder folder;
  save_safetensors(folder / "one.safetensors", {{"a", at::ones({2})}}, {{"format", "pt"}});
  folder.write("two.bin", pytorch(TensorPickle().bytes()));
  folder.write("model.safetensors.index.json", R"({"weight_map": {"a": "one.safetensors", "w": "two.bin"}})");
  for (const auto& path : {folder.path(), folder / "model.safetensors.index.json"}) {
    const auto file = open_tensor_file(path);
    EXPECT_EQ(file->files().size(), 3u);
    EXPECT_TRUE(at::equal(file->tensor("a"), at::ones({2})) && at::equal(file->tensor("w"), at::tensor({1.0f, 2.0f})));
  }
  const std::string before = weights_sha256(folder.path());
  EXPECT_EQ(weights_sha256(folder / "one.safetensors"), file_sha256(folder / "one.safetensors"));
  save_safetensors(folder / "one.safetensors", {{"a", at::zeros({2})}});
  EXPECT_NE(weights_sha256(folder.path()), before);
}

TEST(Index, RefusesBrokenOnes) {
  const Folder folder;
  save_safetensors(folder / "one.safetensors", {{"a", at::ones({2})}, {"b", at::ones({2})}});
  const std::vector<Broken> all = {
      {"not JSON", "{", {"no index of shards"}},
      {"no map", "{}", {"weight_map"}},
      {"map is a list", R"({"weight_map": []})", {"weight_map"}},
      {"deep", "{\"weight_map\": " + std::string(100'000, '['), {"no index of shards", "nested too deeply"}},
      {"deep and whole",
       "{\"weight_map\": {}, \"metadata\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}",
       {"no index of shards", "nested too deeply"}},
      {"number", R"({"weight_map": {"a": 1}})", {"'a'", "no file's name"}},
      {"elsewhere", R"({"weight_map": {"a": "../one.safetensors"}})", {"'a'", "beside the index"}},
      {"absolute", R"({"weight_map": {"a": "/etc/passwd"}})", {"'a'", "beside the index"}},
      {"itself", R"({"weight_map": {"a": "f.json"}})", {"f.json"}},
      {"missing shard", R"({"weight_map": {"a": "two.safetensors"}})", {"two.safetensors", "No such file"}},
      {"missing tensor", R"({"weight_map": {"c": "one.safetensors"}})", {"'c'", "it is not in"}},
      {"unlisted tensor", R"({"weight_map": {"a": "one.safetensors"}})", {"'b'", "not in the index"}},
  };
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    const std::string path = folder.write("f.json", broken.bytes);
    expect_error<std::runtime_error>([&] { open_tensor_file(path); }, broken.faults);
  }
  const Folder empty;
  expect_error<std::runtime_error>([&] { open_tensor_file(empty.path()); }, {empty.path(), "model.safetensors"});
}

// ---- files of other kinds

TEST(OpenTensorFile, SaysWhatAFileOfAnotherKindIs) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') + "\nsize 22883328\n";
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  const std::vector<Broken> all = {
      {"Git LFS", pointer, {"Git LFS pointer", "git lfs pull"}},
      {"web page", "\n<!DOCTYPE html>\n<html><head>", {"web page"}},
      {"web page in capitals", "<HTML><BODY>404", {"web page"}},
      {"storage's error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", {"web page"}},
      {"HDF5", "\x89HDF\r\n\x1a\n" + std::string(100, '\0'), {"HDF5"}},
      {"GGUF", "GGUF" + number<uint32_t>(3) + std::string(100, '\0'), {"GGUF"}},
      {"Flax", std::string("\x83\xa6params\x81", 9) + std::string(100, 'x'), {"msgpack"}},
      {"Flax, many", std::string("\xde\0\x20\xd9\x05model", 10) + std::string(100, 'x'), {"msgpack"}},
      {"gzip", "\x1f\x8b\x08" + std::string(100, '\1'), {"gzip"}},
      {"tar", tar, {"tar archive"}},
      {"text", "These are no weights, and no file of another kind either.", {"not a safetensors file", "'These are no wei'"}},
  };
  const Folder folder;
  for (const auto& broken : all) {
    SCOPED_TRACE(broken.name);
    const std::string path = folder.write("f", broken.bytes);
    auto faults = broken.faults;
    faults.push_back(path);
    expect_error<std::runtime_error>([&] { open_tensor_file(path); }, faults);
    if (broken.name != "tar") expect_error<std::runtime_error>([&] { SafetensorsFile file(path); }, faults);
  }
}

// ---- one of several state dicts

TEST(OpenTensorFile, TakesTheTensorsUnderAName) {
  const Folder folder;
  save_safetensors(folder / "f", {{"teacher.a", at::ones({2})}, {"teacher.b.c", at::zeros({1})}, {"student.a", at::zeros({2})}});
  for (const char* name : {"teacher", "teacher."}) {
    const auto file = open_tensor_file(folder / "f", name);
    EXPECT_EQ(file->entries().size(), 2u);
    EXPECT_TRUE(at::equal(file->tensor("a"), at::ones({2})));
    EXPECT_TRUE(file->contains("b.c"));
  }
  expect_error<std::runtime_error>([&] { open_tensor_file(folder / "f", "teach"); }, {"no state dict 'teach'", "'teach.'"});
  const auto file = open_tensor_file(folder / "f");
  EXPECT_EQ(weights_sha256(*file), file_sha256(folder / "f"));
  EXPECT_NE(weights_sha256(*file, "teacher"), weights_sha256(*file, "student"));
}

}  // namespace
}  // namespace respeft::formats
