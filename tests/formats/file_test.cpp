#include <gtest/gtest.h>
#include <respeft/formats/file.h>
#include <sys/stat.h>

#include "tests/expect_error.h"
#include "tests/file_size_limit.h"
#include "tests/folder.h"

namespace respeft::formats {
namespace {

using test::expect_error;
using test::Folder;

// FIPS 180-4, examples of SHA-256.
TEST(Sha256, MatchesPublishedDigests) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfAFileReadsAllPieces) {
  const Folder folder;
  const std::string path = folder.write("a", std::string(3'000'001, 'a'));
  EXPECT_EQ(file_sha256(path), sha256(std::string(3'000'001, 'a')));
  expect_error<std::runtime_error>([&] { file_sha256(folder / "none"); }, {folder / "none", "No such file"});
}

TEST(WriteFile, WritesAndReplaces) {
  const Folder folder;
  const std::string path = folder / "out";
  write_file(path, "first");
  write_file(path, std::string_view("a\0b", 3));
  EXPECT_EQ(read_file(path), std::string("a\0b", 3));
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(WriteFile, GivesOrdinaryPermissions) {
  const Folder folder;
  const mode_t mask = ::umask(022);
  write_file(folder / "out", "x");
  ::umask(mask);
  struct stat status = {};
  ASSERT_EQ(::stat((folder / "out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST(WriteFile, FollowsALink) {
  const Folder folder;
  folder.write("target", "old");
  std::filesystem::create_symlink("target", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_EQ(read_file(folder / "target"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
}

TEST(WriteFile, TakesTheLongestNameThereIs) {
  const Folder folder;
  const std::string path = folder / std::string(255, 'n');
  write_file(path, "x");
  EXPECT_EQ(read_file(path), "x");
}

TEST(WriteFile, LeavesTheOldFileAndNothingElseWhenTheWriterThrows) {
  const Folder folder;
  const std::string path = folder.write("out", "old");
  const auto write = [](const std::function<void(std::string_view)>& append) {
    append("half of it");
    throw std::invalid_argument("changed my mind");
  };
  EXPECT_THROW(write_file(path, write), std::invalid_argument);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(WriteFile, LeavesNothingWhenTheDiskRefuses) {
  const Folder folder;
  std::string message;
  try {
    const test::FileSizeLimit limit(1000);
    write_file(folder / "out", std::string(5000, 'x'));
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  EXPECT_EQ(message, "cannot write " + folder / "out" + ": File too large");
  EXPECT_TRUE(folder.names().empty());
}

TEST(WriteFile, NamesPathAndReason) {
  const Folder folder;
  const auto attempt = [](const std::string& path) { return [path] { write_file(path, "x"); }; };
  expect_error<std::runtime_error>(attempt("/dev/full"), {"/dev/full", "No space left on device"});
  expect_error<std::runtime_error>(attempt(folder.path()), {folder.path(), "Is a directory"});
  expect_error<std::runtime_error>(attempt(folder / "none/out"), {folder / "none/out", "No such file or directory"});
  expect_error<std::runtime_error>(attempt(folder / std::string(256, 'n')), {"File name too long"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(WriteFile, KeepsADeviceADevice) {
  write_file("/dev/null", "x");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(WriteFile, RefusesAFolderItMayNotWrite) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const Folder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  expect_error<std::runtime_error>([&] { write_file(folder / "out", "x"); }, {"Permission denied"});
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}

TEST(WriteFolder, AppearsWhole) {
  const Folder folder;
  const auto fill = [&](const std::string& place) {
    EXPECT_EQ(folder.names().size(), 1u);  // only the one beside
    write_file(place + "/one", "1");
    write_file(place + "/two", "2");
  };
  write_folder(folder / "out", fill);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"out"});
  EXPECT_EQ(read_file(folder / "out/one") + read_file(folder / "out/two"), "12");
}

TEST(WriteFolder, LeavesNothingWhenFillingThrows) {
  const Folder folder;
  const auto fill = [](const std::string& place) {
    write_file(place + "/one", "1");
    throw std::runtime_error(place + "/two: no");
  };
  expect_error<std::runtime_error>([&] { write_folder(folder / "out", fill); }, {folder / "out/two: no"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(ReadFile, NamesPathAndReason) {
  const Folder folder;
  expect_error<std::runtime_error>([&] { read_file(folder / "none"); }, {folder / "none", "No such file"});
  expect_error<std::runtime_error>([&] { read_file(folder.path()); }, {folder.path(), "Is a directory"});
}

}  // namespace
}  // namespace respeft::formats
