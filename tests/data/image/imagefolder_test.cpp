#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include <respeft/data/image/check.h>
#include <respeft/data/image/dataset.h>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

// Folders as people have them: splits of other names, links, pipes, names that are not UTF-8, and no splits at all.
namespace respeft::data {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

std::vector<std::string> items(const Dataset& dataset) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < dataset.size(); ++i) names.push_back(dataset.item_name(i));
  return names;
}

/// A folder of classes cat and dog of one PNG each in every one of `splits`.
struct Layout {
  explicit Layout(const std::vector<std::string>& splits) {
    for (const auto& split : splits) {
      for (const char* name : {"cat", "dog"}) folder.write(split + "/" + name + "/0.png", samples::png());
    }
  }
  std::string spec() const { return "imagefolder:" + folder.path(); }
  DatasetPtr open(Split split = Split::train) const { return open_dataset(spec(), split); }
  std::vector<std::string> notes() const {
    std::vector<std::string> found;
    for (const auto& finding : check_data(spec()).findings) {
      if (finding.severity == Severity::note) found.push_back(finding.message);
    }
    return found;
  }

  test::Folder folder;
};

// ---------------------------------------------------------------------------------------------------- names of splits

TEST(SplitFolders, HaveTheNamesThatDatasetsOfHuggingFaceHave) {
  // Keywords of huggingface/datasets, src/datasets/data_files.py.
  for (const std::string train : {"train", "training", "Train"}) {
    for (const std::string val : {"val", "valid", "validation", "dev", "VAL"}) {
      for (const std::string test : {"test", "testing", "eval", "evaluation", "Test"}) {
        const Layout layout({train, val, test});
        EXPECT_EQ(dataset_splits(layout.spec()), all_splits());
        EXPECT_EQ(layout.open(Split::train)->item_name(0), layout.folder / (train + "/cat/0.png"));
        EXPECT_EQ(layout.open(Split::val)->item_name(1), layout.folder / (val + "/dog/0.png"));
        EXPECT_EQ(layout.open(Split::test)->item_name(0), layout.folder / (test + "/cat/0.png"));
      }
    }
  }
}

TEST(SplitFolders, OfOtherNamesAreMentioned) {
  const Layout layout({"train", "valid", "test"});
  fs::create_directories(layout.folder / "raw");
  EXPECT_EQ(layout.open(Split::val)->description(), "imagefolder, val (valid/): 2 images of 2 classes");
  EXPECT_EQ(layout.open(Split::test)->description(), "imagefolder, test: 2 images of 2 classes");
  const auto notes = layout.notes();
  EXPECT_EQ(std::count(notes.begin(), notes.end(), "val is read from valid/"), 1);
  EXPECT_EQ(std::count(notes.begin(), notes.end(), "beside the splits there is raw/, not read"), 1);
}

TEST(SplitFolders, ImagesOutsideTheClassesAreMentioned) {
  const Layout layout({"train", "test"});
  fs::copy(layout.folder / "train/cat/0.png", layout.folder / "train/loose.png");
  layout.folder.write("train/labels.txt", "no image");
  layout.folder.write("one.WEBP", "any");
  layout.folder.write("two.jpg", "any");
  const auto notes = layout.notes();
  const auto said = [&](const std::string& line) { return std::count(notes.begin(), notes.end(), line); };
  EXPECT_EQ(said(layout.folder / "train: an image outside the folders of classes, not read"), 1);
  EXPECT_EQ(said(layout.folder.path() + ": 2 images outside the folders of classes, not read"), 1);
}

TEST(SplitFolders, TwoOfOneSplitAreRefused) {
  const Layout layout({"train", "val", "valid", "test"});
  expect_error<std::runtime_error>([&] { layout.open(); }, {layout.folder.path(), "both val/ and valid/", "the val split"});
}

TEST(SplitFolders, MissingOnesAreSaidWithWhatIsThere) {
  const Layout imagenet({"train", "val"});
  expect_error<std::runtime_error>([&] { imagenet.open(Split::test); },
                                   {"no test split", "test/", "evaluation/", "there is train/, val/"});
  const Layout nothing({});
  expect_error<std::runtime_error>([&] { nothing.open(); }, {"no train split", "there is no folder"});
  const Layout flat({"."});
  expect_error<std::runtime_error>([&] { flat.open(); }, {"no train split", "train/", "there is cat/, dog/", "--split 0.8"});
}

// -------------------------------------------------------------------------------------------------- links and pipes

TEST(ImageFolderLinks, AreFollowed) {
  const Layout layout({"train", "test"});
  fs::rename(layout.folder / "train/dog", layout.folder / "store");
  fs::create_directory_symlink("../store", layout.folder / "train/dog");
  fs::rename(layout.folder / "train/cat/0.png", layout.folder / "blob");
  fs::create_symlink("../../blob", layout.folder / "train/cat/0.png");
  EXPECT_EQ(items(*layout.open()),
            (std::vector<std::string>{layout.folder / "train/cat/0.png", layout.folder / "train/dog/0.png"}));
  EXPECT_EQ(layout.open()->load(0), decode_image(samples::png(), ""));
}

TEST(ImageFolderLinks, BackToAFolderAroundThemAreFaults) {
  for (const std::string target : {".", "..", "../..", "../../..", "/"}) {
    const Layout layout({"train", "test"});
    fs::create_directory_symlink(target, layout.folder / "train/cat/loop");
    try {
      layout.open();
      FAIL() << target;
    } catch (const DataError& error) {
      ASSERT_EQ(error.faults().size(), 1u) << target << ": " << error.faults()[1];
      EXPECT_NE(error.faults()[0].find("train/cat/loop"), std::string::npos) << error.faults()[0];
      EXPECT_NE(error.faults()[0].find("a symbolic link that leads back to its parent folder"), std::string::npos);
      EXPECT_EQ(error.rest()->size(), 2) << "every image once";
    }
  }
}

TEST(ImageFolderLinks, ToOneFolderCountItsImagesOnceAClass) {
  const Layout layout({"train", "test"});
  layout.folder.write("train/cat/new/1.png", samples::png());
  fs::create_directory_symlink("new", layout.folder / "train/cat/latest");
  EXPECT_EQ(layout.open()->size(), 3);
}

TEST(ImageFolderLinks, ToNothingAreNamed) {
  const Layout layout({"train", "test"});
  fs::create_symlink("/nowhere/x.png", layout.folder / "train/cat/gone.png");
  fs::create_symlink("/nowhere/more", layout.folder / "train/cat/folder");
  fs::create_symlink("/nowhere/readme.txt", layout.folder / "train/cat/readme.txt");  // no image
  fs::create_symlink("itself.png", layout.folder / "train/dog/itself.png");
  fs::create_symlink("/nowhere/bird", layout.folder / "train/bird");
  try {
    layout.open();
    FAIL();
  } catch (const DataError& error) {
    const std::string train = layout.folder / "train";
    EXPECT_EQ(error.faults(), (std::vector<std::string>{
                                  train + "/bird: a symbolic link to /nowhere/bird: No such file or directory",
                                  train + "/cat/folder: a symbolic link to /nowhere/more: No such file or directory",
                                  train + "/cat/gone.png: a symbolic link to /nowhere/x.png: No such file or directory",
                                  train + "/dog/itself.png: a symbolic link to itself.png: Too many levels of symbolic links"}));
  }
}

TEST(ImageFolder, PipesSocketsAndDevicesAmongTheImagesAreFaults) {
  const Layout layout({"train", "test"});
  ASSERT_EQ(::mkfifo((layout.folder / "train/cat/pipe.png").c_str(), 0600), 0);
  fs::create_symlink("/dev/null", layout.folder / "train/cat/null.jpg");
  ASSERT_EQ(::mkfifo((layout.folder / "train/cat/control").c_str(), 0600), 0);  // no image
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string socket_path = layout.folder / "train/dog/s.png";
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  socket_path.copy(address.sun_path, socket_path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
  try {
    layout.open();
    FAIL();
  } catch (const DataError& error) {
    EXPECT_EQ(error.faults(), (std::vector<std::string>{layout.folder / "train/cat/null.jpg: a device, not an image file",
                                                        layout.folder / "train/cat/pipe.png: a named pipe, not an image file",
                                                        layout.folder / "train/dog/s.png: a socket, not an image file"}));
    EXPECT_EQ(error.rest()->size(), 2);
  }
}

/// A list may name a pipe, and an image may become one after the folder was read: reading must not wait for a writer.
TEST(ImageList, APipeIsNotReadFrom) {
  const Layout layout({"train", "test"});
  const auto dataset = layout.open();
  fs::remove(layout.folder / "train/cat/0.png");
  ASSERT_EQ(::mkfifo((layout.folder / "train/cat/0.png").c_str(), 0600), 0);
  expect_error<std::runtime_error>([&] { dataset->load(0); }, {"train/cat/0.png: a named pipe, not an image file"});
}

TEST(ImageFolder, FoldersThatCannotBeReadAreNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every folder";
  const Layout layout({"train", "test"});
  fs::create_directories(layout.folder / "train/cat/private");
  fs::permissions(layout.folder / "train/cat/private", fs::perms::none);
  expect_error<DataError>([&] { layout.open(); }, {"train/cat/private", "the folder cannot be read"});
  fs::permissions(layout.folder / "train/cat/private", fs::perms::owner_all);
}

// --------------------------------------------------------------------------------------------- names that are not UTF-8

TEST(ImageFolder, ClassNamesAreUtf8WhateverTheFoldersAre) {
  const Layout layout({});
  for (const char* split : {"train", "test"}) {
    for (const char* name : {"caf\xE9", "caf\xE8", "猫"})
      layout.folder.write(std::string(split) + "/" + name + "/\xFF.png", samples::png());
  }
  const auto dataset = layout.open();
  EXPECT_EQ(dataset->class_names(), (std::vector<std::string>{"caf\\xe8", "caf\\xe9", "猫"}));
  EXPECT_EQ(dataset->label(1), 1);
  EXPECT_EQ(dataset->item_name(1), layout.folder / "train/caf\xE9/\xFF.png");
  EXPECT_NO_THROW(dataset->load(1));
}

// ------------------------------------------------------------------------------------------------ folders without splits

/// `counts[i]` images of class i.
struct Flat : Layout {
  explicit Flat(const std::vector<int>& counts) : Layout({}) {
    for (size_t c = 0; c < counts.size(); ++c) {
      for (int i = 0; i < counts[c]; ++i) folder.write(fmt::format("class{}/{}.png", c, i), samples::png());
    }
  }
  DatasetPtr part(Split split, const std::string& shares) const { return open_dataset(spec(), split, {shares}); }
  std::vector<int64_t> counts(Split split, const std::string& shares, size_t classes) const {
    std::vector<int64_t> found(classes);
    const auto dataset = part(split, shares);
    for (int64_t i = 0; i < dataset->size(); ++i) ++found.at(static_cast<size_t>(dataset->label(i)));
    return found;
  }
};

TEST(SplitShares, AreReadFromText) {
  const auto expect = [](const std::string& text, double train, double val, double test) {
    const SplitShares shares = split_shares_from_text(text);
    EXPECT_NEAR(shares.train, train, 1e-12) << text;
    EXPECT_NEAR(shares.val, val, 1e-12) << text;
    EXPECT_NEAR(shares.test, test, 1e-12) << text;
  };
  expect("0.8", 0.8, 0, 0.2);
  expect("0.75,0.25", 0.75, 0, 0.25);
  expect("0.8, 0.1, 0.1", 0.8, 0.1, 0.1);
  expect("0.9,0,0.1", 0.9, 0, 0.1);
  for (const char* bad : {"", "x", "0", "1", "1.2", "-0.5", "0.8,0.1", "0.8,0.3", "0.5,0.5,0", "0.2,0.2,0.2,0.4", "nan", "80"})
    expect_error<std::invalid_argument>([&] { split_shares_from_text(bad); }, {"split:", "0.8,0.1,0.1"});
}

TEST(SplitShares, SplitEveryClassAlone) {
  const Flat flat({10, 40, 1, 2, 3});
  EXPECT_EQ(dataset_splits(flat.spec(), {"0.8"}), (std::vector{Split::train, Split::test}));
  EXPECT_EQ(dataset_splits(flat.spec(), {"0.8,0.1,0.1"}), all_splits());
  EXPECT_EQ(flat.counts(Split::train, "0.8", 5), (std::vector<int64_t>{8, 32, 1, 1, 2}));
  EXPECT_EQ(flat.counts(Split::test, "0.8", 5), (std::vector<int64_t>{2, 8, 0, 1, 1}));
  EXPECT_EQ(flat.counts(Split::train, "0.8,0.1,0.1", 5), (std::vector<int64_t>{8, 32, 1, 1, 1}));
  EXPECT_EQ(flat.counts(Split::val, "0.8,0.1,0.1", 5), (std::vector<int64_t>{1, 4, 0, 0, 1}));
  EXPECT_EQ(flat.counts(Split::test, "0.8,0.1,0.1", 5), (std::vector<int64_t>{1, 4, 0, 1, 1}));
  std::set<std::string> all;
  for (const Split split : {Split::train, Split::val, Split::test}) {
    for (const auto& name : items(*flat.part(split, "0.8,0.1,0.1"))) EXPECT_TRUE(all.insert(name).second) << name << " twice";
  }
  EXPECT_EQ(all.size(), 56u);
  EXPECT_EQ(flat.part(Split::trainval, "0.8,0.1,0.1")->size(), 43 + 6);
  EXPECT_EQ(flat.part(Split::test, "0.8")->description(), "imagefolder, test (20 % of every class): 12 images of 5 classes");
}

TEST(SplitShares, AlwaysSplitInTheSameWay) {
  // By sha256("respeft split 1\n" + "class0/I.png"), lowest first: computed with Python's hashlib.
  const Flat flat({10});
  const auto inside = [](const Flat& where, const std::vector<std::string>& names) {
    std::vector<std::string> relative;
    for (const auto& name : names) relative.push_back(fs::path(name).lexically_relative(where.folder.path()).string());
    return relative;
  };
  EXPECT_EQ(inside(flat, items(*flat.part(Split::test, "0.7"))),
            (std::vector<std::string>{"class0/0.png", "class0/2.png", "class0/9.png"}));
  const Flat other({10, 5});  // elsewhere, with another class
  EXPECT_EQ(inside(other, items(*first(other.part(Split::test, "0.7"), 3))), inside(flat, items(*flat.part(Split::test, "0.7"))));
  EXPECT_EQ(items(*open_dataset(flat.spec() + "/", Split::test, {"0.7"})).size(), 3u);
  const auto slash = items(*open_dataset(flat.spec() + "/", Split::test, {"0.7"}));
  EXPECT_EQ(inside(flat, slash), inside(flat, items(*flat.part(Split::test, "0.7"))));
  // An image that is added moves at most one other.
  flat.folder.write("class0/new.png", samples::png());
  std::set<std::string> before, after;
  for (const auto& name : inside(flat, slash)) before.insert(name);
  for (const auto& name : inside(flat, items(*flat.part(Split::test, "0.7")))) after.insert(name);
  EXPECT_EQ(after.size(), 3u);
  size_t kept = 0;
  for (const auto& name : before) kept += after.count(name);
  EXPECT_GE(kept, 2u);
}

TEST(SplitShares, AreForFoldersOfClassesAlone) {
  const Layout layout({"train", "test"});
  expect_error<std::invalid_argument>([&] { open_dataset(layout.spec(), Split::train, {"0.8"}); },
                                      {"split:", "has splits of its own", "test/, train/"});
  expect_error<std::invalid_argument>([&] { open_dataset("fashion-mnist:" + layout.folder.path(), Split::train, {"0.8"}); },
                                      {"split:", "fashion-mnist", "folder of classes"});
  // A class may be called as a split is.
  const Layout vehicles({});
  for (const char* name : {"bus", "train"}) {
    for (const char* image : {"0", "1"}) vehicles.folder.write(fmt::format("{}/{}.png", name, image), samples::png());
  }
  EXPECT_EQ(open_dataset(vehicles.spec(), Split::train, {"0.5"})->class_names(), (std::vector<std::string>{"bus", "train"}));
  const Layout empty({});
  expect_error<std::runtime_error>([&] { open_dataset(empty.spec(), Split::train, {"0.5"}); }, {"one a class"});
}

TEST(SplitShares, AreCheckedAsSplitsAre) {
  const Flat flat({10, 10});
  const auto report = check_data(flat.spec(), {.dataset = {"0.8,0.1,0.1"}});
  ASSERT_EQ(report.splits.size(), 3u);
  EXPECT_EQ(report.splits[0].class_images, (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(report.splits[2].class_images, (std::vector<int64_t>{1, 1}));
}

}  // namespace
}  // namespace respeft::data
