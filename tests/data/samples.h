#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

/// Small files and a folder to put them in. The files were written by Pillow 13.0.0.
namespace respeft::data::samples {

inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

/// Colour, quality 60, 4:2:0, stored 5 × 3 with EXIF orientation 6: upright it is 3 × 5.
inline std::string jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffe100224578696600004d4d002a00000008000101120003000000010006000000000000ffdb"
      "0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e"
      "5a615a50604a51524fffdb0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
      "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc00011080003000503012200021101031101ffc40015000101000000000000000000000000"
      "00000003ffc4001a100002020300000000000000000000000000010305142241ffc40014010100000000000000000000000000000004ffc40016"
      "1101010100000000000000000000000000001101ffda000c03010002110311003f009d0c31e0ad170002660f5fffd9");
}

/// Four inks with Adobe's marker, quality 90, 3 × 2.
inline std::string cmyk_jpeg() {
  return from_hex(
      "ffd8ffee000e41646f626500640000000000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d"
      "0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc000140800020003044311004d11005911004b1100ffc40015000101"
      "00000000000000000000000000000708ffc40026100000030702070000000000000000000001030500020406163351152322243241424361ffda"
      "000e0443004d0059004b00003f00a727138ca9d4771eba3dfe337ce3187d4ea3be65d1f31c320ce2a31753a8f3475d1f60e1af8587ded5227887"
      "af2dffd9");
}

/// A palette of four colours at 2 bits, one of them transparent, 3 × 2.
inline std::string png() {
  return from_hex(
      "89504e470d0a1a0a0000000d4948445200000003000000020203000000e01a8e890000000c504c5445ff000000ff000000ff0a141e2288290400"
      "00000274524e53ff00e5b7304a0000000c4944415478da639060780200013000fd6830cfdf0000000049454e44ae426082");
}

/// A folder that is gone with its owner.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "respeft-data-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string path() const { return path_.string(); }
  /// Writes a file and the folders above it; returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    const auto path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return path.string();
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(path_ / name); }

 private:
  std::filesystem::path path_;
};

}  // namespace respeft::data::samples
