#include <respeft/data/image/vtab.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include <respeft/data/image/dataset.h>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::data {
namespace {

using test::expect_error;

// Expected: classes and sizes of test splits in the tests of VTAB's data pipeline (num_classes and expected_num_samples in
// google-research/task_adaptation), 16 classes for both dSprites tasks in its list of tasks. KITTI's is 711, the size of the test
// split that the pipeline reads and the archives have.
TEST(VtabTasks, AreThePublishedNineteen) {
  using enum VtabGroup;
  struct Row {
    const char* name;
    VtabGroup group;
    int64_t classes, test_images;
  };
  const std::vector<Row> published = {
      {"caltech101", natural, 102, 6084},
      {"cifar", natural, 100, 10000},
      {"dtd", natural, 47, 1880},
      {"oxford_flowers102", natural, 102, 6149},
      {"oxford_iiit_pet", natural, 37, 3669},
      {"svhn", natural, 10, 26032},
      {"sun397", natural, 397, 21750},
      {"patch_camelyon", specialized, 2, 32768},
      {"eurosat", specialized, 10, 5400},
      {"resisc45", specialized, 45, 6300},
      {"diabetic_retinopathy", specialized, 5, 42670},
      {"clevr_count", structured, 8, 15000},
      {"clevr_dist", structured, 6, 15000},
      {"dmlab", structured, 6, 22735},
      {"kitti", structured, 4, 711},
      {"dsprites_loc", structured, 16, 73728},
      {"dsprites_ori", structured, 16, 73728},
      {"smallnorb_azi", structured, 18, 12150},
      {"smallnorb_ele", structured, 9, 12150},
  };
  ASSERT_EQ(vtab_tasks().size(), published.size());
  for (const auto& row : published) {
    const auto& task = vtab_task(row.name);
    EXPECT_EQ(task.name, row.name);
    EXPECT_EQ(to_string(task.group), to_string(row.group)) << row.name;
    EXPECT_EQ(task.classes, row.classes) << row.name;
    EXPECT_EQ(task.test_images, row.test_images) << row.name;
  }
  EXPECT_EQ(to_string(vtab_task("resisc45").group), "specialized");
  expect_error<std::invalid_argument>([] { vtab_task("cifar100"); }, {"'cifar100'", "did you mean 'cifar'"});
  expect_error<std::invalid_argument>([] { vtab_task("imagenet"); }, {"'imagenet'", "known:", "smallnorb_ele"});
}

/// KITTI (4 classes) with three images in train800.txt, one in val200.txt and two in test.txt.
struct Kitti : testing::Test {
  Kitti() {
    for (const char* name : {"train/a b.jpg", "train/c.png", "train/d.jpg", "val/e.png", "test/f.jpg", "test/g.png"}) {
      folder.write(std::string("kitti/images/") + name, std::string(name).ends_with("jpg") ? samples::jpeg() : samples::png());
    }
    folder.write("kitti/train800.txt", "images/train/d.jpg 3\nimages/train/a b.jpg 0\r\n\nimages/train/c.png\t1");
    folder.write("kitti/val200.txt", "images/val/e.png 2\n");
    folder.write("kitti/test.txt", "images/test/f.jpg 1\nimages/test/g.png 0\n");
  }
  std::string root() const { return folder / "kitti"; }
  DatasetPtr open(Split split) const { return open_dataset("vtab:" + root(), split); }

  test::Folder folder;
};

TEST_F(Kitti, ReadsListsInTheirOrder) {
  const auto train = open(Split::train);
  ASSERT_EQ(train->size(), 3);
  EXPECT_EQ(train->item_name(0), root() + "/images/train/d.jpg");
  EXPECT_EQ(train->item_name(1), root() + "/images/train/a b.jpg");
  EXPECT_EQ(train->file(2), root() + "/images/train/c.png");
  EXPECT_EQ(train->label(0), 3);
  EXPECT_EQ(train->label(1), 0);
  EXPECT_EQ(train->label(2), 1);
  EXPECT_EQ(train->load(2), decode_image(samples::png(), ""));
  EXPECT_EQ(train->class_names(), (std::vector<std::string>{"0", "1", "2", "3"}));
  EXPECT_EQ(train->description(), "vtab kitti, train: 3 images of 4 classes");
  EXPECT_EQ(open(Split::test)->size(), 2);
}

TEST_F(Kitti, TrainvalIsItsListOrElseBoth) {
  EXPECT_EQ(dataset_splits("vtab:" + root()), all_splits());
  const auto both = open(Split::trainval);
  ASSERT_EQ(both->size(), 4);
  EXPECT_EQ(both->item_name(0), root() + "/images/train/d.jpg");
  EXPECT_EQ(both->item_name(3), root() + "/images/val/e.png");
  EXPECT_EQ(both->file(3), both->item_name(3));
  EXPECT_EQ(both->label(3), 2);
  EXPECT_EQ(both->load(3), decode_image(samples::png(), ""));
  EXPECT_EQ(both->description(), "vtab, trainval: 4 images of 4 classes");

  folder.write("kitti/train800val200.txt", "images/val/e.png 2\nimages/train/d.jpg 3\n");
  const auto listed = open(Split::trainval);
  ASSERT_EQ(listed->size(), 2);
  EXPECT_EQ(listed->item_name(0), root() + "/images/val/e.png");

  folder.remove("kitti/train800.txt");
  folder.remove("kitti/val200.txt");
  EXPECT_EQ(dataset_splits("vtab:" + root()), (std::vector{Split::trainval, Split::test}));
  expect_error<std::runtime_error>([&] { open(Split::val); }, {"no val split", "trainval, test"});
}

TEST_F(Kitti, EveryFaultOfAListIsNamed) {
  folder.write("kitti/test.txt",
               "images/test/f.jpg 4\nimages/test/g.png 0\nimages/test/h.jpg\nimages/test/i.jpg one\nimages/test/j.jpg -1\n"
               "/etc/passwd 0\nimages/../../k.jpg 0\nimages/test/l.jpg 99999999999999999999\n 1\n");
  try {
    open(Split::test);
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    const std::vector<std::pair<int, std::string>> expected = {
        {1, "label 4 of images/test/f.jpg: kitti has 4 classes, so labels are 0 … 3"},
        {3, "expected 'IMAGE LABEL', not 'images/test/h.jpg'"},
        {4, "expected 'IMAGE LABEL' with a whole number as the label, not 'one'"},
        {5, "label -1 of images/test/j.jpg: kitti has 4 classes, so labels are 0 … 3"},
        {6, "'/etc/passwd' is an absolute path; images lie in the dataset's folder"},
        {7, "'images/../../k.jpg' leads out of the dataset's folder"},
        {8, "expected 'IMAGE LABEL' with a whole number as the label, not '99999999999999999999'"},
        {9, "an image without a name"}};
    ASSERT_EQ(error.faults().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(error.faults()[i], root() + "/test.txt:" + std::to_string(expected[i].first) + ": " + expected[i].second);
    }
    EXPECT_EQ(error.what(), error.faults()[0] + " (and 7 more faults)");
    ASSERT_TRUE(error.rest());
    EXPECT_EQ(error.rest()->size(), 1);
    EXPECT_EQ(error.rest()->item_name(0), root() + "/images/test/g.png");
  }
  folder.write("kitti/test.txt", "images/test/f.jpg 7");
  expect_error<DataError>([&] { open(Split::test); }, {"test.txt:1: label 7"});
  folder.write("kitti/test.txt", "\n\n");
  expect_error<std::runtime_error>([&] { open(Split::test); }, {"test.txt", "no images"});
}

TEST_F(Kitti, MissingAndCorruptImagesAreNamedWhenTheyAreLoaded) {
  folder.remove("kitti/images/test/f.jpg");
  folder.write("kitti/images/test/g.png", samples::png().substr(0, 80));
  const auto test = open(Split::test);
  expect_error<std::runtime_error>([&] { test->load(0); }, {"images/test/f.jpg", "No such file"});
  expect_error<std::runtime_error>([&] { test->load(1); }, {"images/test/g.png", "corrupt"});
}

TEST_F(Kitti, TheDataSetsNameDecides) {
  EXPECT_EQ(open_dataset("vtab:" + root() + "/", Split::test)->size(), 2);
  expect_error<std::invalid_argument>([&] { open_dataset("vtab:" + folder.path(), Split::test); },
                                      {"which dataset?", "vtab:" + folder.path() + "/NAME", "kitti"});
  expect_error<std::runtime_error>([&] { open_dataset("vtab:" + folder.path() + "/kity", Split::test); },
                                   {"no such folder", "did you mean 'kitti'"});
  std::filesystem::rename(root(), folder / "dsprite_loc");
  expect_error<std::invalid_argument>([&] { open_dataset("vtab:" + (folder / "dsprite_loc"), Split::test); },
                                      {"unknown dataset 'dsprite_loc'", "did you mean 'dsprites_loc'"});
  std::filesystem::create_directories(folder / "cifar");
  std::filesystem::rename(folder / "dsprite_loc", folder / "svhn");
  const auto present = vtab_tasks_in(folder.path());
  ASSERT_EQ(present.size(), 2u);
  EXPECT_EQ(present[0].name, "cifar");
  EXPECT_EQ(present[1].name, "svhn");
  EXPECT_TRUE(dataset_splits("vtab:" + (folder / "cifar")).empty());
  expect_error<std::runtime_error>([&] { open_dataset("vtab:" + (folder / "cifar"), Split::test); }, {"none at all"});
}

TEST_F(Kitti, PublishedFactsAreTheTasks) {
  const auto facts = published_facts("vtab:" + root());
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->name, "VTAB-1k's kitti");
  EXPECT_EQ(facts->classes, 4);
  EXPECT_EQ(facts->images,
            (std::map<Split, int64_t>{{Split::train, 800}, {Split::val, 200}, {Split::trainval, 1000}, {Split::test, 711}}));
}

}  // namespace
}  // namespace respeft::data
