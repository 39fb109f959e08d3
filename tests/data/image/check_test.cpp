#include <respeft/data/image/check.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/png.h"

namespace respeft::data {
namespace {

using test::expect_error;

/// A PNG of one color. `format`: PNG_FORMAT_RGB or PNG_FORMAT_GRAY.
std::string png_of(int value, uint32_t width = 4, uint32_t height = 3, uint32_t format = PNG_FORMAT_RGB) {
  return test::png(
      width, height,
      std::vector<uint8_t>(size_t{width} * height * (format == PNG_FORMAT_GRAY ? 1 : 3), static_cast<uint8_t>(value)), format);
}

/// KITTI (4 classes): four different images in train800.txt, one of each class, four in val200.txt and four in test.txt.
struct Check : testing::Test {
  Check() {
    int value = 0;
    for (const std::string split : {"train800", "val200", "test"}) {
      for (int label = 0; label < 4; ++label, ++value) {
        const std::string name = "images/" + split + "/" + std::to_string(label) + ".png";
        folder.write("kitti/" + name, png_of(value));
        lists[split] += name + " " + std::to_string(label) + "\n";
      }
    }
    write_lists();
  }
  void write_lists() {
    for (const auto& [name, lines] : lists) folder.write("kitti/" + name + ".txt", lines);
  }
  std::string root() const { return folder / "kitti"; }
  DataReport check(CheckOptions options = {.any_size = true}) const { return check_data("vtab:" + root(), options); }

  test::Folder folder;
  std::map<std::string, std::string> lists;
};

/// The one finding of this check and severity whose message has `part`.
const Finding& finding(const DataReport& report, Severity severity, const std::string& check, const std::string& part) {
  static const Finding none{Severity::note, "none", "none"};
  const Finding* found = nullptr;
  for (const auto& candidate : report.findings) {
    if (candidate.severity != severity || candidate.check != check || candidate.message.find(part) == std::string::npos) continue;
    EXPECT_EQ(found, nullptr) << "two findings: " << candidate.message;
    found = &candidate;
  }
  if (found) return *found;
  std::string all;
  for (const auto& candidate : report.findings) all += "\n" + to_string(candidate.severity) + " " + candidate.message;
  ADD_FAILURE() << "no " << to_string(severity) << " of " << check << " with '" << part << "' among" << all;
  return none;
}

TEST_F(Check, ASoundDataSetHasNoFindings) {
  int64_t last = 0;
  const auto report = check({.workers = 3, .any_size = true, .progress = [&](int64_t done, int64_t total) {
                               EXPECT_EQ(total, 12);
                               EXPECT_GE(done, last);
                               last = done;
                             }});
  EXPECT_TRUE(report.findings.empty()) << report.findings[0].message;
  EXPECT_FALSE(has_findings(report.findings, Severity::note));
  EXPECT_EQ(last, 12);
  EXPECT_EQ(report.name, "VTAB-1k's kitti");
  ASSERT_EQ(report.splits.size(), 3u);
  EXPECT_EQ(report.splits[1].split, Split::val);
  EXPECT_EQ(report.splits[1].images, 4);
  EXPECT_EQ(report.splits[1].published, 200);
  EXPECT_EQ(report.splits[1].class_images, (std::vector<int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(report.images.images, 12);
  EXPECT_EQ(report.images.unreadable, 0);
  EXPECT_EQ(report.images.kinds, (std::map<std::string, int64_t>{{"PNG RGB", 12}}));
  EXPECT_EQ(report.images.median, (std::array<int64_t, 2>{4, 3}));
}

TEST_F(Check, ListsAndFilesAreReportedAllTogether) {
  folder.remove("kitti/images/test/1.png");
  folder.write("kitti/images/train800/2.png", png_of(99).substr(0, 50));
  folder.write("kitti/images/val200/0.png", "");
  lists["test"] += "images/test/3.png 9\nimages/test/3.png\n";
  write_lists();
  const auto report = check();
  EXPECT_EQ(
      finding(report, Severity::error, "lists", "2 faults on opening test").items,
      (std::vector<std::string>{root() + "/test.txt:5: label 9 of images/test/3.png: kitti has 4 classes, so labels are 0 … 3",
                                root() + "/test.txt:6: expected 'IMAGE LABEL', not 'images/test/3.png'"}));
  const auto& files = finding(report, Severity::error, "files", "3 images missing or unreadable").items;
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].rfind(root() + "/images/train800/2.png: corrupt image", 0), 0u) << files[0];
  EXPECT_EQ(files[1], root() + "/images/val200/0.png: the file is empty");
  EXPECT_EQ(files[2], "cannot read " + root() + "/images/test/1.png: No such file or directory");
  EXPECT_EQ(report.images.unreadable, 3);
  EXPECT_EQ(report.splits[2].images, 4);
}

TEST_F(Check, SizesAndClassesAreComparedWithThePublishedOnes) {
  const auto report = check({});
  const auto& items = finding(report, Severity::error, "sizes", "published").items;
  EXPECT_EQ(items, (std::vector<std::string>{"train: 4 images; VTAB-1k's kitti has 800", "val: 4 images; VTAB-1k's kitti has 200",
                                             "test: 4 images; VTAB-1k's kitti has 711"}));
  folder.write("CUB_200_2011/images/1/a.png", png_of(1));
  for (const std::string split : {"train", "val", "test"}) folder.write("CUB_200_2011/" + split + ".json", R"({"1/a.png": 1})");
  const auto birds = check_data("fgvc:" + (folder / "CUB_200_2011"));
  finding(birds, Severity::error, "classes", "1 classes; CUB-200-2011 has 200");
  EXPECT_EQ(finding(birds, Severity::error, "sizes", "published").items.size(), 3u);
}

TEST_F(Check, ClassesWithoutImagesAndImbalance) {
  lists["train800"] = "images/train800/0.png 0\n";
  lists["test"] = "images/test/0.png 0\nimages/test/1.png 1\nimages/test/2.png 2\n";
  write_lists();
  std::filesystem::remove(root() + "/val200.txt");
  const auto report = check();
  EXPECT_EQ(finding(report, Severity::warning, "classes", "train: 3 classes without an image").items,
            (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(finding(report, Severity::note, "classes", "test: 1 class without an image").items, (std::vector<std::string>{"3"}));
  for (int i = 0; i < 20; ++i) {
    const std::string name = "images/train800/more" + std::to_string(i) + ".png";
    folder.write("kitti/" + name, png_of(100 + i));
    lists["train800"] += name + " 2\n";
  }
  write_lists();
  finding(check(), Severity::note, "balance", "the largest class has 20 images, 95.2 % of all, and the smallest 1");
  std::filesystem::remove(root() + "/test.txt");
  finding(check(), Severity::error, "lists", "test: there is no list; VTAB-1k's kitti has 711 images");
  std::filesystem::remove(root() + "/train800.txt");
  finding(check(), Severity::error, "lists", "no split to train on");
}

TEST_F(Check, TrainvalMustBeTrainAndVal) {
  folder.write("kitti/train800val200.txt", lists["train800"] + lists["val200"]);
  EXPECT_TRUE(check().findings.empty());  // its images are no duplicates
  std::filesystem::remove(root() + "/val200.txt");
  finding(check(), Severity::warning, "lists", "val: there is no list; VTAB-1k's kitti has 200 images");
  write_lists();
  std::filesystem::remove(root() + "/train800.txt");
  finding(check(), Severity::warning, "lists", "train: there is no list; VTAB-1k's kitti has 800 images");
  write_lists();
  folder.write("kitti/train800val200.txt",
               lists["train800"] + "images/val200/0.png 1\n" + lists["val200"].substr(22) + "images/test/0.png 0\n");
  const auto report = check();
  const std::string images = root() + "/images/";
  EXPECT_EQ(finding(report, Severity::error, "lists", "trainval is not train and val together").items,
            (std::vector<std::string>{images + "val200/0.png with label 0: not in trainval",
                                      images + "val200/0.png with label 1: in neither train nor val",
                                      images + "test/0.png with label 0: in neither train nor val"}));
}

/// As in the published archives, where every list has files of its own.
TEST_F(Check, TrainvalMayHaveCopies) {
  std::string copies;
  for (int value = 0; value < 8; ++value) {
    const std::string name = "images/train800val200/" + std::to_string(value) + ".png";
    folder.write("kitti/" + name, png_of(value));
    copies += name + " " + std::to_string(value % 4) + "\n";
  }
  folder.write("kitti/train800val200.txt", copies);
  EXPECT_TRUE(check().findings.empty());
  folder.write("kitti/images/train800val200/5.png", png_of(50));
  EXPECT_EQ(finding(check(), Severity::error, "lists", "trainval is not train and val together").items,
            (std::vector<std::string>{root() + "/images/val200/1.png with label 1: not in trainval",
                                      root() + "/images/train800val200/5.png with label 1: in neither train nor val"}));
}

TEST_F(Check, DuplicatesAreFoundByTheirPixels) {
  folder.write("kitti/images/test/0.png", png_of(2, 4, 3, PNG_FORMAT_GRAY));  // train800/2.png's pixels in another file
  folder.write("kitti/images/val200/1.png", png_of(7));                       // val200/3.png's
  folder.write("kitti/images/val200/2.png", png_of(0, 3, 4));                 // train800/0.png's pixels, but turned
  const auto report = check();
  const std::string images = root() + "/images/";
  const std::string across = "train " + images + "train800/2.png (label 2) = test " + images + "test/0.png (label 0)";
  const std::string within = "val " + images + "val200/1.png (label 1) = val " + images + "val200/3.png (label 3)";
  EXPECT_EQ(finding(report, Severity::warning, "duplicates", "1 picture occurs in several splits").items,
            (std::vector<std::string>{across}));
  EXPECT_EQ(finding(report, Severity::warning, "duplicates", "1 picture occurs more than once in one split").items,
            (std::vector<std::string>{within}));
  EXPECT_EQ(finding(report, Severity::warning, "duplicates", "2 pictures occur with different labels").items,
            (std::vector<std::string>{across, within}));
  EXPECT_TRUE(has_findings(report.findings, Severity::warning));
  EXPECT_FALSE(has_findings(report.findings, Severity::error));
}

TEST(CheckImageFolder, TheWayImagesAreStoredIsSummarized) {
  const test::Folder folder;
  folder.write("train/a/1.jpg", samples::jpeg());
  folder.write("train/a/2.jpg", samples::cmyk_jpeg());
  folder.write("train/a/3.png", png_of(5, 40, 10));
  folder.write("test/a/4.png", samples::png());
  const auto report = check_data("imagefolder:" + folder.path());
  EXPECT_EQ(report.name, "imagefolder:" + folder.path());
  EXPECT_EQ(report.images.kinds,
            (std::map<std::string, int64_t>{{"JPEG RGB", 1}, {"JPEG CMYK", 1}, {"PNG RGB", 1}, {"PNG palette 2 bit alpha", 1}}));
  EXPECT_EQ(report.images.smallest, (std::array<int64_t, 2>{3, 2}));
  EXPECT_EQ(report.images.median, (std::array<int64_t, 2>{3, 5}));
  EXPECT_EQ(report.images.largest, (std::array<int64_t, 2>{40, 10}));
  const auto one = [&](const char* part) { return finding(report, Severity::note, "images", part).items; };
  EXPECT_EQ(one("1 image turned upright by EXIF"), (std::vector<std::string>{folder / "train/a/1.jpg"}));
  EXPECT_EQ(one("1 image in CMYK"), (std::vector<std::string>{folder / "train/a/2.jpg"}));
  EXPECT_EQ(one("1 image with transparency"), (std::vector<std::string>{folder / "test/a/4.png"}));
  EXPECT_EQ(one("1 image more than 3 times"), (std::vector<std::string>{(folder / "train/a/3.png") + " (40×10)"}));
  EXPECT_EQ(report.findings.size(), 4u);
  EXPECT_FALSE(report.splits[0].published);
}

TEST(CheckImageFolder, DamagedJpegsAreMentioned) {
  const test::Folder folder;
  std::string early = samples::jpeg();
  early.replace(early.size() - 9, 2, "\xFF\xD9");
  folder.write("train/a/1.jpg", early);
  folder.write("train/a/2.jpg", samples::jpeg() + "appended by a camera");
  folder.write("test/a/3.png", png_of(5));
  const auto report = check_data("imagefolder:" + folder.path());
  EXPECT_EQ(finding(report, Severity::note, "images", "1 image damaged").items,
            (std::vector<std::string>{(folder / "train/a/1.jpg") + " (Corrupt JPEG data: premature end of data segment)"}));
  EXPECT_EQ(report.images.unreadable, 0);
}

TEST(CheckImageFolder, FaultsOfFoldersAreReportedAllTogether) {
  const test::Folder folder;
  folder.write("train/a/1.png", png_of(1));
  folder.write("train/a/2.webp", "…");
  folder.write("train/b/notes.txt", "not an image");
  folder.write("test/a/3.png", png_of(3).substr(0, 50));
  folder.write("test/a/4.gif", "…");
  folder.write("test/c/5.png", png_of(5));
  const auto report = check_data("imagefolder:" + folder.path());
  const std::string train = folder / "train", test = folder / "test", same = ": all splits need the same classes",
                    format = ": images of this format cannot be read; JPEG and PNG can";
  EXPECT_EQ(finding(report, Severity::error, "lists", "4 faults on opening train").items,
            (std::vector<std::string>{train + ": no folder 'c', which " + test + " has" + same,
                                      test + ": no folder 'b', which " + train + " has" + same, train + "/a/2.webp" + format,
                                      train + "/b: no images in it"}));
  EXPECT_EQ(finding(report, Severity::error, "lists", "1 fault on opening test").items,
            (std::vector<std::string>{test + "/a/4.gif" + format}));
  finding(report, Severity::error, "files", "1 image missing or unreadable");
  EXPECT_EQ(report.class_names, (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_EQ(report.splits.size(), 2u);
  EXPECT_EQ(report.splits[0].class_images, (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(report.splits[1].class_images, (std::vector<int64_t>{1, 0, 1}));
  folder.remove("test");
  finding(check_data("imagefolder:" + folder.path()), Severity::error, "lists", "there is no test split");
}

TEST(CheckData, ThrowsWhereThereIsNoDataSet) {
  expect_error<std::runtime_error>([] { check_data("vtab:no/such/place"); }, {"no/such/place", "no such folder"});
  expect_error<std::invalid_argument>([] { check_data("vtb:place"); }, {"did you mean 'vtab'"});
  expect_error<std::invalid_argument>([] { check_data("imagefolder:.", {.workers = -1}); }, {"-1 workers"});
}

}  // namespace
}  // namespace respeft::data
