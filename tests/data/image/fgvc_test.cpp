#include <respeft/data/image/fgvc.h>

#include <gtest/gtest.h>

#include <filesystem>

#include <respeft/data/image/dataset.h>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::data {
namespace {

using test::expect_error;

// Expected values: Table 8 of the VPT paper (Jia et al. 2022).
TEST(FgvcTasks, AreThePublishedFive) {
  ASSERT_EQ(fgvc_tasks().size(), 5u);
  const auto sizes = [](const std::string& name) {
    const auto& task = fgvc_task(name);
    return std::vector<int64_t>{task.classes, task.train_images, task.val_images, task.test_images};
  };
  EXPECT_EQ(sizes("CUB_200_2011"), (std::vector<int64_t>{200, 5394, 600, 5794}));
  EXPECT_EQ(sizes("nabirds"), (std::vector<int64_t>{555, 21536, 2393, 24633}));
  EXPECT_EQ(sizes("OxfordFlowers"), (std::vector<int64_t>{102, 1020, 1020, 6149}));
  EXPECT_EQ(sizes("Stanford-Dogs"), (std::vector<int64_t>{120, 10800, 1200, 8580}));
  EXPECT_EQ(sizes("stanford_cars"), (std::vector<int64_t>{196, 7329, 815, 8041}));
  expect_error<std::invalid_argument>([] { fgvc_task("nabird"); }, {"'nabird'", "did you mean 'nabirds'"});
}

/// Two birds of CUB-200-2011, with ids 3 and 12.
struct Birds : testing::Test {
  Birds() {
    for (const char* name : {"003.Jay/a.jpg", "003.Jay/b.jpg", "012.Kite/c.jpg", "012.Kite/d.jpg", "012.Kite/e.jpg"}) {
      folder.write(std::string("CUB_200_2011/images/") + name, samples::jpeg());
    }
    write("train", R"({"012.Kite/c.jpg": 12, "003.Jay/b.jpg": 3})");
    write("val", R"({"012.Kite/d.jpg": 12})");
    write("test", R"({"012.Kite/e.jpg": 12, "003.Jay/a.jpg": 3})");
  }
  std::string root() const { return folder / "CUB_200_2011"; }
  void write(const std::string& split, const std::string& json) const { folder.write("CUB_200_2011/" + split + ".json", json); }
  DatasetPtr open(Split split = Split::train) const { return open_dataset("fgvc:" + root(), split); }

  test::Folder folder;
};

TEST_F(Birds, IdsBecomeContiguousInSortedOrder) {
  const auto train = open();
  ASSERT_EQ(train->size(), 2);
  EXPECT_EQ(train->item_name(0), root() + "/images/003.Jay/b.jpg");
  EXPECT_EQ(train->label(0), 0);
  EXPECT_EQ(train->label(1), 1);
  EXPECT_EQ(train->load(0), decode_image(samples::jpeg(), ""));
  EXPECT_EQ(train->class_names(), (std::vector<std::string>{"003.Jay", "012.Kite"}));
  EXPECT_EQ(train->description(), "fgvc cub, train: 2 images of 2 classes");
  EXPECT_EQ(open(Split::val)->label(0), 1);  // although it is the only class of that list
  EXPECT_EQ(dataset_splits("fgvc:" + root()), all_splits());
  EXPECT_EQ(open_dataset("fgvc:" + (folder / "cub"), Split::train)->item_name(0), train->item_name(0)) << "by the task's name";
  const auto both = open(Split::trainval);
  ASSERT_EQ(both->size(), 3);
  EXPECT_EQ(both->item_name(2), root() + "/images/012.Kite/d.jpg");
}

TEST_F(Birds, NumbersSortAsNumbersAndFoldersNameClassesOnlyWhereEachHasOne) {
  write("train", R"({"012.Kite/c.jpg": 100, "003.Jay/b.jpg": 20})");
  write("val", R"({"012.Kite/d.jpg": 3})");
  write("test", R"({"012.Kite/e.jpg": 20})");
  EXPECT_EQ(open()->class_names(), (std::vector<std::string>{"3", "20", "100"}));
  EXPECT_EQ(open(Split::test)->label(0), 1);
  write("train", R"({"012.Kite/c.jpg": "b", "003.Jay/b.jpg": "10"})");
  write("val", R"({"012.Kite/d.jpg": "a"})");
  write("test", R"({"012.Kite/e.jpg": "9"})");
  EXPECT_EQ(open()->class_names(), (std::vector<std::string>{"10", "9", "a", "b"}));
}

TEST_F(Birds, NamesWhatIsWrong) {
  write("train", R"({"003.Jay/b.jpg": 3,)");
  expect_error<std::runtime_error>([&] { open(); }, {"train.json", "not JSON", "line 1"});
  write("train", R"(["003.Jay/b.jpg"])");
  expect_error<std::runtime_error>([&] { open(); }, {"train.json", "JSON object of image paths and class ids"});
  write("train", "{}");
  expect_error<std::runtime_error>([&] { open(); }, {"train.json", "no images"});
  write("train", R"({"a.jpg": 1.5, "/b.jpg": 1, "../c.jpg": 1, "d.jpg": [1], "003.Jay/b.jpg": 3, "003.Jay/b.jpg": 4,
                     "e.jpg": 18446744073709551615})");
  try {
    open();
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    const std::string path = root() + "/train.json: ";
    EXPECT_EQ(error.faults(), (std::vector<std::string>{
                                  path + "'003.Jay/b.jpg' is listed twice", path + "'../c.jpg' leads out of the dataset's folder",
                                  path + "'/b.jpg' is an absolute path; images lie in the dataset's folder",
                                  path + "'a.jpg': the class id is 1.5; expected a whole number or a text",
                                  path + "'d.jpg': the class id is array; expected a whole number or a text",
                                  path + "'e.jpg': the class id is 18446744073709551615; expected a whole number or a text"}));
    ASSERT_TRUE(error.rest());
    EXPECT_EQ(error.rest()->size(), 1);
  }
  EXPECT_EQ(open(Split::test)->size(), 2);  // its own list is right
  folder.remove("CUB_200_2011/images");
  expect_error<std::runtime_error>([&] { open(Split::test); }, {"CUB_200_2011/images", "no such folder"});
}

TEST_F(Birds, EachDataSetHasItsImagesFolder) {
  const auto opens = [&](const std::string& name, const std::string& image_folder) {
    const std::string base = name + "/" + image_folder;
    folder.write(base + "x/1.jpg", samples::jpeg());
    folder.write(name + "/test.json", R"({"x/1.jpg": 1})");
    EXPECT_EQ(open_dataset("fgvc:" + (folder / name), Split::test)->item_name(0), folder / (base + "x/1.jpg"));
  };
  opens("nabirds", "images/");
  opens("stanford_dogs", "Images/");
  opens("StanfordCars", "");
  opens("oxford_flowers102", "");
  expect_error<std::invalid_argument>(
      [&] { open_dataset("fgvc:" + folder.path(), Split::test); },
      {"which dataset?", "CUB_200_2011 or nabirds or oxford_flowers102 or stanford_dogs or StanfordCars"});
  EXPECT_EQ(fgvc_tasks_in(folder.path()).at(2).task.name, "flowers");
  std::filesystem::create_directories(folder / "aircraft");
  expect_error<std::invalid_argument>([&] { dataset_splits("fgvc:" + (folder / "aircraft")); },
                                      {"unknown dataset 'aircraft'", "known: cub, nabirds, flowers, dogs, cars"});
}

TEST_F(Birds, PublishedFactsAreTheTasks) {
  const auto facts = published_facts("fgvc:" + root());
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->name, "CUB-200-2011");
  EXPECT_EQ(facts->classes, 200);
  EXPECT_EQ(facts->images.at(Split::trainval), 5994);
}

}  // namespace
}  // namespace respeft::data
