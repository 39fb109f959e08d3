#include <respeft/data/image/fingerprint.h>

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::data {
namespace {

struct Fingerprints : testing::Test {
  Fingerprints() {
    for (const char* split : {"train", "test"}) {
      for (const char* name : {"a", "b", "c"}) folder.write(std::string(split) + "/" + name + "/0.png", samples::png());
    }
  }
  DataFingerprint now() const {
    const std::string spec = "imagefolder:" + folder.path();
    const auto train = open_dataset(spec, Split::train), test = open_dataset(spec, Split::test);
    return {train->class_names(), {{"train", fingerprint(*train, folder.path())}, {"test", fingerprint(*test, folder.path())}}};
  }
  void rename(const std::string& from, const std::string& to) const {
    for (const char* split : {"/train/", "/test/"})
      std::filesystem::rename(folder.path() + split + from, folder.path() + split + to);
  }

  test::Folder folder;
};

using Lines = std::vector<std::string>;

TEST_F(Fingerprints, AreEqualWhereTheDataAre) {
  const DataFingerprint before = now();
  EXPECT_EQ(before.splits.at("train").images, 3);
  EXPECT_EQ(differences(before, now()), Lines());
  EXPECT_EQ(data_fingerprint_from_json(to_json(before)), before);
  // sha256 of "0\ttrain/a/0.png\n1\ttrain/b/0.png\n2\ttrain/c/0.png\n", by Python's hashlib
  EXPECT_EQ(before.splits.at("train").sha256, "0a35b2e03587c928fc71846d83e4d0c6c49a5aed034fbe14051926989d24e8df");
}

TEST_F(Fingerprints, SayWhatChanged) {
  const DataFingerprint before = now();
  rename("a", "zebra");
  EXPECT_EQ(differences(before, now()),
            (Lines{"class 0 was 'a' and is 'b'", "test has other images or labels", "train has other images or labels"}));
  rename("zebra", "a");
  folder.write("train/b/1.png", samples::png());
  EXPECT_EQ(differences(before, now()), (Lines{"train had 3 images and has 4"}));
  folder.remove("train/a/0.png");
  folder.write("train/a/1.png", samples::png());
  folder.remove("train/b/1.png");
  EXPECT_EQ(differences(before, now()), (Lines{"train has other images or labels"}));
  folder.write("train/d/0.png", samples::png());
  folder.write("test/d/0.png", samples::png());
  EXPECT_EQ(differences(before, now()).front(), "there were 3 classes and are 4");
  DataFingerprint without_test = before;
  without_test.splits.erase("test");
  EXPECT_EQ(differences(before, without_test), Lines());
}

TEST(DataFingerprint, ADamagedDescriptionIsRefused) {
  for (const char* json : {"", "[]", "{}", R"({"class_names": [1], "splits": {}})", R"({"class_names": [], "splits": {"a": 1}})"})
    test::expect_error<std::runtime_error>([&] { data_fingerprint_from_json(json); }, {"not a description of data"});
}

}  // namespace
}  // namespace respeft::data
