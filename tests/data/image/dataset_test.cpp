#include <respeft/data/image/dataset.h>

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <thread>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::data {
namespace {

using test::expect_error;

// ------------------------------------------------------------------------------------------------------------- opening

TEST(OpenDataset, RefusesUnknownKindsAndPaths) {
  expect_error<std::invalid_argument>([] { open_dataset("imagefoldr:x", Split::train); },
                                      {"imagefoldr", "did you mean 'imagefolder'"});
  expect_error<std::invalid_argument>([] { open_dataset("somewhere", Split::train); },
                                      {"somewhere", "KIND:PATH", "fashion-mnist"});
  expect_error<std::invalid_argument>([] { open_dataset("imagefolder:", Split::train); }, {"KIND:PATH"});
  for (const auto& kind : dataset_kinds()) {
    expect_error<std::runtime_error>([&] { open_dataset(kind.name + ":no/such/place", Split::test); },
                                     {"no/such/place", "no such folder"});
    expect_error<std::runtime_error>([&] { dataset_splits(kind.name + ":README.md"); }, {"README.md", "folder"});
  }
}

// -------------------------------------------------------------------------------------------------------- Fashion-MNIST

std::string idx(std::initializer_list<uint32_t> shape, const std::string& values) {
  std::string file{'\0', '\0', '\x08', static_cast<char>(shape.size())};
  for (uint32_t length : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(length >> shift);
  }
  return file + values;
}

void write_gzip(const std::string& path, const std::string& content) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, content.data(), static_cast<unsigned>(content.size())), static_cast<int>(content.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

const char* const kImages = "t10k-images-idx3-ubyte";
const char* const kLabels = "t10k-labels-idx1-ubyte";

/// Two images of 2 rows and 3 columns.
struct TinyMnist : testing::Test {
  TinyMnist() {
    folder.write(kImages, idx({2, 2, 3}, "abcdefghijkl"));
    folder.write(kLabels, idx({2}, std::string("\x09\x03", 2)));
  }
  DatasetPtr open() const { return open_dataset("fashion-mnist:" + folder.path(), Split::test); }
  template <typename... Parts>
  void expect_refused(const Parts&... parts) {
    expect_error<std::runtime_error>([&] { open(); }, {parts...});
  }

  test::Folder folder;
};

TEST_F(TinyMnist, ReadsIdx) {
  const auto dataset = open();
  EXPECT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->label(0), 9);
  EXPECT_EQ(dataset->label(1), 3);
  EXPECT_EQ(dataset->class_names().at(9), "Ankle boot");
  const Image image = dataset->load(1);
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.height, 2);
  EXPECT_EQ(std::string(image.pixels.begin(), image.pixels.end()), "ggghhhiiijjjkkklll");
  EXPECT_EQ(dataset->item_name(1), folder.path() + "/" + kImages + " #1");
  EXPECT_EQ(dataset_splits("fashion-mnist:" + folder.path()), std::vector{Split::test});
  expect_error<std::runtime_error>([&] { open_dataset("fashion-mnist:" + folder.path(), Split::train); },
                                   {"no train split", "test"});
  EXPECT_THROW(dataset->load(2), std::out_of_range);
  EXPECT_THROW(dataset->label(-1), std::out_of_range);
}

TEST_F(TinyMnist, ReadsGzip) {
  const auto plain = open();
  folder.remove(kImages);
  write_gzip(folder.path() + "/" + kImages + ".gz", idx({2, 2, 3}, "abcdefghijkl"));
  EXPECT_EQ(open()->load(1), plain->load(1));
}

TEST_F(TinyMnist, RefusesDamage) {
  const std::string good = idx({2, 2, 3}, "abcdefghijkl");
  folder.write(kImages, good.substr(0, good.size() - 1));
  expect_refused(kImages, "truncated", "11 bytes of 12");
  folder.write(kImages, good + "m");
  expect_refused(kImages, "more data than the 12 bytes");
  folder.write(kImages, good.substr(0, 9));
  expect_refused(kImages, "shorter than its header");
  folder.write(kImages, "");
  expect_refused(kImages, "shorter than its header");
  folder.write(kImages, idx({2}, "ab") + std::string(20, 'x'));
  expect_refused(kImages, "3 dimensions", "00 00 08 01");
  folder.write(kImages, idx({0, 2, 3}, ""));
  expect_refused(kImages, "impossible sizes");
  folder.write(kImages, idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "abc"));
  expect_refused(kImages, "impossible sizes");
  folder.write(kImages, idx({0xFFFFFFFF, 0xFFFF, 1}, "abc"));  // 281 TB: claimed, never set aside
  expect_refused(kImages, "truncated", "3 bytes of");
}

TEST_F(TinyMnist, RefusesWrongLabels) {
  folder.write(kLabels, idx({3}, std::string("\x01\x02\x03", 3)));
  expect_refused(kLabels, "3 labels for 2 images");
  folder.write(kLabels, idx({2}, std::string("\x01\x0a", 2)));
  expect_refused(kLabels, "label 10 of image 1");
  folder.remove(kLabels);
  expect_refused("no labels");
}

TEST_F(TinyMnist, RefusesDamagedGzip) {
  folder.remove(kImages);
  const std::string path = folder.path() + "/" + kImages + ".gz";
  write_gzip(path, idx({100, 2, 3}, std::string(600, 'a')));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
  expect_refused(kImages, "gzip");
}

/// The published dataset: its sizes, first labels, and the mean and deviation that everyone normalizes it with.
TEST(FashionMnist, IsTheKnownOne) {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "Debian's dataset-fashion-mnist is not installed";
  const auto train = open_dataset("fashion-mnist:" + folder, Split::train),
             test = open_dataset("fashion-mnist:" + folder, Split::test);
  EXPECT_EQ(train->size(), 60000);
  EXPECT_EQ(test->size(), 10000);
  const std::vector<int64_t> first_train = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5}, first_test = {9, 2, 1, 1, 6, 1, 4, 6, 5, 7};
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(train->label(i), first_train[static_cast<size_t>(i)]);
    EXPECT_EQ(test->label(i), first_test[static_cast<size_t>(i)]);
  }
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < train->size(); i += 6) {
    for (const uint8_t value : train->load(i).pixels) sum += value / 255.0, squares += value / 255.0 * value / 255.0;
  }
  const double count = 10000.0 * 28 * 28 * 3, mean = sum / count;
  EXPECT_NEAR(mean, 0.2860, 0.002);
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 0.3530, 0.002);
}

// ----------------------------------------------------------------------------------------------------------- image folder

struct Pets : testing::Test {
  Pets() {
    for (const char* split : {"train", "test"}) {
      folder.write(std::string(split) + "/dog/b.PNG", samples::png());
      folder.write(std::string(split) + "/cat/litter/a.jpeg", samples::jpeg());
      folder.write(std::string(split) + "/cat/c.jpg", samples::jpeg());
    }
    folder.write("train/.cache/x.png", samples::png());
    folder.write("train/dog/.hidden.png", samples::png());
    folder.write("train/dog/.cache/x.png", samples::png());
    folder.write("train/dog/.cache/y.webp", "cannot be read");
    folder.write("train/dog/notes.txt", "not an image");
  }
  DatasetPtr open(Split split = Split::train) const { return open_dataset("imagefolder:" + folder.path(), split); }
  template <typename... Parts>
  void expect_refused(const Parts&... parts) {
    expect_error<std::runtime_error>([&] { open(); }, {parts...});
  }

  test::Folder folder;
};

TEST_F(Pets, IsSortedByClassAndPath) {
  const auto dataset = open();
  EXPECT_EQ(dataset->class_names(), (std::vector<std::string>{"cat", "dog"}));
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_EQ(dataset->item_name(0), folder.path() + "/train/cat/c.jpg");
  EXPECT_EQ(dataset->item_name(1), folder.path() + "/train/cat/litter/a.jpeg");
  EXPECT_EQ(dataset->item_name(2), folder.path() + "/train/dog/b.PNG");
  EXPECT_EQ(dataset->label(1), 0);
  EXPECT_EQ(dataset->label(2), 1);
  EXPECT_EQ(dataset->load(2), decode_image(samples::png(), ""));
  EXPECT_EQ(dataset_splits("imagefolder:" + folder.path()), (std::vector{Split::train, Split::test}));
}

TEST_F(Pets, SplitsNeedTheSameClasses) {
  folder.write("val/cat/c.jpg", samples::jpeg());
  expect_refused("/val", "'dog'", "/train");
  folder.write("val/dog/c.jpg", samples::jpeg());
  folder.write("val/mouse/c.jpg", samples::jpeg());
  expect_refused("/train", "'mouse'", "/val");
  folder.remove("val/mouse");
  EXPECT_EQ(open(Split::val)->size(), 2);
}

TEST_F(Pets, EveryFaultIsNamed) {
  folder.write("train/dog/scan.webp", "…");
  folder.write("train/cat/litter/old.BMP", "…");
  folder.write("train/mouse/notes.txt", "not an image");
  folder.write("test/owl/a.jpg", samples::jpeg());
  const std::string train = folder / "train", test = folder / "test", same = ": all splits need the same classes",
                    format = ": images of this format cannot be read; JPEG and PNG can";
  const std::vector<std::string> classes = {train + ": no folder 'owl', which " + test + " has" + same,
                                            test + ": no folder 'mouse', which " + train + " has" + same};
  const auto expect_faults = [&](Split split, std::vector<std::string> own, const std::vector<int64_t>& labels) {
    own.insert(own.begin(), classes.begin(), classes.end());
    try {
      open(split);
      FAIL() << "nothing was thrown";
    } catch (const DataError& error) {
      EXPECT_EQ(error.faults(), own);
      ASSERT_TRUE(error.rest());
      EXPECT_EQ(error.rest()->class_names(), (std::vector<std::string>{"cat", "dog", "mouse", "owl"}));
      std::vector<int64_t> found;
      for (int64_t i = 0; i < error.rest()->size(); ++i) found.push_back(error.rest()->label(i));
      EXPECT_EQ(found, labels);
    }
  };
  expect_faults(Split::train,
                {train + "/cat/litter/old.BMP" + format, train + "/dog/scan.webp" + format, train + "/mouse: no images in it"},
                {0, 0, 1});
  expect_faults(Split::test, {}, {0, 0, 1, 3});
}

TEST_F(Pets, NamesWhatIsWrong) {
  folder.write("train/dog/scan.webp", "…");
  expect_refused("scan.webp", "JPEG and PNG");
  folder.remove("train/dog/scan.webp");
  folder.remove("train/dog/b.PNG");
  expect_refused("/train/dog", "no images");
  folder.write("train/dog/b.png", samples::png().substr(0, 90));
  const auto dataset = open();
  expect_error<std::runtime_error>([&] { dataset->load(2); }, {"/train/dog/b.png", "corrupt"});
  folder.remove("test");
  expect_error<std::runtime_error>([&] { open(Split::test); }, {"no test split", "train"});
  folder.remove("train/cat");
  folder.remove("train/dog");
  expect_refused("/train", "one a class");
}

// ------------------------------------------------------------------------------------------------------------- selections

/// Image i is one pixel of value i; labels are given.
class Numbers : public Dataset {
 public:
  explicit Numbers(std::vector<int64_t> labels) : labels_(std::move(labels)) {}
  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  int64_t label(int64_t index) const override { return labels_.at(static_cast<size_t>(index)); }
  Image load(int64_t index) const override {
    ++loads;
    if (index == broken) throw std::runtime_error("broken image");
    Image image(1, 1);
    image.pixels.assign(3, static_cast<uint8_t>(index));
    return image;
  }
  std::string item_name(int64_t index) const override { return "number " + std::to_string(index); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string description() const override { return "numbers"; }

  mutable std::atomic<int> loads = 0;
  std::atomic<int64_t> broken = -1;

 private:
  std::vector<int64_t> labels_;
  std::vector<std::string> names_ = {"a", "b", "c"};
};

std::vector<int64_t> labels_of_sizes(int64_t a, int64_t b, int64_t c) {
  std::vector<int64_t> labels(static_cast<size_t>(a), 0);
  labels.insert(labels.end(), static_cast<size_t>(b), 1);
  labels.insert(labels.end(), static_cast<size_t>(c), 2);
  return labels;
}

std::vector<std::string> names(const Dataset& dataset) {
  std::vector<std::string> result;
  for (int64_t i = 0; i < dataset.size(); ++i) result.push_back(dataset.item_name(i));
  return result;
}

std::vector<int64_t> class_counts(const Dataset& dataset) {
  std::vector<int64_t> counts(3);
  for (int64_t i = 0; i < dataset.size(); ++i) ++counts[static_cast<size_t>(dataset.label(i))];
  std::sort(counts.begin(), counts.end());
  return counts;
}

TEST(Subset, IsBalanced) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(60, 90, 40));
  EXPECT_EQ(class_counts(*subset(numbers, 30, 1)), (std::vector<int64_t>{10, 10, 10}));
  EXPECT_EQ(class_counts(*subset(numbers, 32, 1)), (std::vector<int64_t>{10, 11, 11}));
  EXPECT_EQ(class_counts(*subset(numbers, 150, 1)), (std::vector<int64_t>{40, 55, 55}));  // the small class gives all it has
  EXPECT_EQ(names(*subset(numbers, 190, 1)), names(*numbers));
}

TEST(Subset, DependsOnTheSeedAlone) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(60, 90, 40));
  EXPECT_EQ(names(*subset(numbers, 30, 1)), names(*subset(numbers, 30, 1)));
  EXPECT_NE(names(*subset(numbers, 30, 1)), names(*subset(numbers, 30, 2)));
  std::set<std::string> larger;
  for (const auto& name : names(*subset(numbers, 45, 1))) larger.insert(name);
  EXPECT_EQ(larger.size(), 45u);  // nothing twice
  for (const auto& name : names(*subset(numbers, 30, 1))) EXPECT_EQ(larger.count(name), 1u) << name;
}

TEST(Subset, KeepsOrderAndPixels) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(60, 90, 40));
  const auto drawn = subset(numbers, 30, 5);
  for (int64_t i = 0; i < drawn->size(); ++i) {
    const int64_t value = drawn->load(i).pixels[0];
    EXPECT_EQ(drawn->item_name(i), "number " + std::to_string(value));
    EXPECT_EQ(drawn->label(i), numbers->label(value));
    if (i > 0) {
      EXPECT_LT(drawn->load(i - 1).pixels[0], value);
    }
  }
}

TEST(Subset, RefusesWrongCounts) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(2, 2, 2));
  expect_error<std::invalid_argument>([&] { subset(numbers, 7, 0); }, {"7", "1 … 6"});
  expect_error<std::invalid_argument>([&] { subset(numbers, 0, 0); }, {"0", "1 … 6"});
  expect_error<std::invalid_argument>([&] { first(numbers, 0); }, {"0", "at least 1"});
}

TEST(Sample, IsDrawnEvenlyAndSaysHowMany) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(60, 90, 40));
  EXPECT_EQ(class_counts(*sample(numbers, 30)), (std::vector<int64_t>{10, 10, 10}));
  EXPECT_EQ(names(*sample(numbers, 30)), names(*subset(numbers, 30, 0)));
  EXPECT_EQ(sample(numbers, 1000), numbers) << "all where there are fewer";
  EXPECT_NE(sample(numbers, 30)->description().find(", 30 of them drawn evenly from the classes with seed 0"), std::string::npos)
      << sample(numbers, 30)->description();
  expect_error<std::invalid_argument>([&] { sample(numbers, 0); }, {"0", "at least 1"});
}

TEST(First, TakesTheFirst) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(2, 2, 2));
  EXPECT_EQ(names(*first(numbers, 2)), (std::vector<std::string>{"number 0", "number 1"}));
  EXPECT_EQ(first(numbers, 100)->size(), 6);
}

TEST(Cached, LoadsEachImageOnceFromAnyThread) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(50, 50, 50));
  const auto kept = cached(numbers, Transform({.size = 3}));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int64_t i = 0; i < 150; ++i) {
          const Image image = kept->load(i);
          EXPECT_EQ(image.width, 3);
          EXPECT_EQ(image.pixels, std::vector<uint8_t>(27, static_cast<uint8_t>(i)));
        }
      });
    }
  }
  EXPECT_EQ(numbers->loads, 150);
}

TEST(Cached, KeepsWhatACropChoosesFrom) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(1, 1, 1));
  const Transform transform({.size = 3, .resize_size = 5}), shortest({.size = 3, .resize_size = 5, .resize_mode = "shortest"});
  EXPECT_EQ(cached(numbers, transform)->load(0).width, 5);
  EXPECT_EQ(cached_bytes(transform), 5 * 5 * 3);
  EXPECT_EQ(cached_bytes(shortest), 2 * 5 * 5 * 3);
}

TEST(Cached, AFailureIsTriedAgain) {
  const auto numbers = std::make_shared<Numbers>(labels_of_sizes(1, 1, 1));
  const auto kept = cached(numbers, Transform({.size = 3}));
  numbers->broken = 1;
  expect_error<std::runtime_error>([&] { kept->load(1); }, {"broken image"});
  numbers->broken = -1;
  EXPECT_EQ(kept->load(1).pixels[0], 1);
}

}  // namespace
}  // namespace respeft::data
