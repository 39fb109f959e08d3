#include <respeft/formats/file.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <vector>

namespace respeft::formats {
namespace {

[[noreturn]] void fail(const std::string& action, const std::string& path, int error) {
  throw std::runtime_error(fmt::format("cannot {} {}: {}", action, path, std::strerror(error)));
}

/// A file descriptor that is closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int get() const { return fd_; }
  bool close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || ::close(fd) == 0;
  }

 private:
  int fd_;
};

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

using Writer = std::function<void(const std::function<void(std::string_view)>&)>;

/// A new file in `target`'s folder. Its name is short, so that it fits wherever the target's name does.
int create_beside(const std::filesystem::path& target, std::string& temporary) {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    temporary = (target.parent_path() / fmt::format(".respeft-{}-{}.part", ::getpid(), counter++)).string();
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
}

/// A new folder in `target`'s folder.
std::string create_folder_beside(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    const auto folder = (target.parent_path() / fmt::format(".respeft-{}-{}.folder", ::getpid(), counter++)).string();
    if (::mkdir(folder.c_str(), 0777) == 0) return folder;
    if (errno != EEXIST) fail("write", target.string(), errno);
  }
}

/// Flushes a folder's directory entries to disk.
void flush_folder(const std::string& folder) {
  Descriptor directory(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
}

/// Writes directly to something other than a regular file, such as `/dev/stdout`, which cannot be renamed.
void write_special(const std::string& path, const Writer& write) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) fail("write", path, errno);
  write([&](std::string_view bytes) {
    if (const int error = write_all(file.get(), bytes)) fail("write", path, error);
  });
}

void write_beside_and_rename(const std::string& path, const std::filesystem::path& target, const Writer& write) {
  std::string temporary;
  Descriptor file(create_beside(target, temporary));
  if (file.get() < 0) fail("write", path, errno);
  const auto remove = [](const std::string* name) { ::unlink(name->c_str()); };
  std::unique_ptr<std::string, decltype(remove)> guard(&temporary, remove);
  write([&](std::string_view bytes) {
    if (const int error = write_all(file.get(), bytes)) fail("write", path, error);
  });
  if (::fsync(file.get()) != 0) fail("write", path, errno);
  if (!file.close()) fail("write", path, errno);
  if (::rename(temporary.c_str(), target.c_str()) != 0) fail("write", path, errno);
  guard.release();
  flush_folder(target.parent_path().string());
}

/// Calls `consume` with the file's content, piece by piece.
template <class Consume>
void read_pieces(const std::string& path, const Consume& consume) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail("read", path, errno);
  std::vector<char> buffer(size_t{1} << 20);
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("read", path, errno);
    if (count == 0) return;
    consume(std::string_view(buffer.data(), static_cast<size_t>(count)));
  }
}

/// SHA-256, fed piece by piece.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }
  void update(std::string_view bytes) { check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size())); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest, &size));
    return fmt::format("{:02x}", fmt::join(digest, digest + size, ""));
  }

 private:
  static void check(bool done) {
    if (!done) throw std::runtime_error("SHA-256 is not available in this system's OpenSSL");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

void write_file(const std::string& path, const Writer& write) {
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::directory) fail("write", path, EISDIR);
  const bool exists = kind != std::filesystem::file_type::not_found && kind != std::filesystem::file_type::none;
  if (exists && kind != std::filesystem::file_type::regular) return write_special(path, write);
  const auto target = exists ? std::filesystem::canonical(path, error) : std::filesystem::path(path);
  write_beside_and_rename(path, error ? std::filesystem::path(path) : target, write);
}

void write_file(const std::string& path, std::string_view content) {
  write_file(path, [&](const std::function<void(std::string_view)>& append) { append(content); });
}

void write_folder(const std::string& path, const std::function<void(const std::string& folder)>& fill) {
  std::filesystem::path target(path);
  if (!target.has_filename()) target = target.parent_path();  // a trailing slash
  std::error_code ignored;
  if (std::filesystem::exists(target, ignored) && !std::filesystem::is_empty(target, ignored)) {
    fail("write", path, std::filesystem::is_directory(target, ignored) ? ENOTEMPTY : EEXIST);
  }
  const std::string temporary = create_folder_beside(target);
  try {
    fill(temporary);
    flush_folder(temporary);
    if (::rename(temporary.c_str(), target.c_str()) != 0) fail("write", path, errno);
  } catch (const std::exception& error) {
    std::filesystem::remove_all(temporary, ignored);
    std::string message = error.what();
    const size_t at = message.find(temporary);
    if (at == std::string::npos) throw;
    throw std::runtime_error(message.replace(at, temporary.size(), target.string()));  // name the requested path
  }
  flush_folder(target.parent_path().string());
}

std::string read_file(const std::string& path) {
  std::string content;
  read_pieces(path, [&](std::string_view piece) { content.append(piece); });
  return content;
}

std::string file_sha256(const std::string& path) {
  Sha256 hash;
  read_pieces(path, [&](std::string_view piece) { hash.update(piece); });
  return hash.hex();
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

}  // namespace respeft::formats
