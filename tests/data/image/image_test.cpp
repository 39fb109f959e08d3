#include <respeft/data/image/image.h>

#include <gtest/gtest.h>

#include "src/data/image/codecs.h"
#include "tests/data/image/samples.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

// Expected pixels are Pillow 13.0.0's: ImageOps.exif_transpose(Image.open(file)).convert("RGB"). The whole comparison, over
// every kind of file, is tests/interop/test_pixels.py.
namespace respeft::data {
namespace {

using test::expect_error;

using Pixels = std::vector<uint8_t>;

TEST(Image, DecodesJpegUpright) {
  const Image image = decode_image(samples::jpeg(), "photo.jpg");
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.height, 5);
  EXPECT_EQ(image.pixels,
            (Pixels{39,  60, 77, 25, 47,  61,  10,  32,  45,  68,  90, 104, 54,  76,  89,  39,  61,  74,  91,  112, 129, 78, 100,
                    114, 63, 85, 98, 115, 137, 151, 101, 123, 136, 86, 108, 121, 140, 161, 178, 127, 149, 163, 111, 133, 146}));
}

TEST(Image, DecodesInksOfAdobe) {
  const Image image = decode_image(samples::cmyk_jpeg(), "inks.jpg");
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.pixels, (Pixels{226, 217, 206, 190, 181, 172, 160, 151, 142, 215, 197, 181, 181, 164, 148, 151, 135, 119}));
}

TEST(Image, DecodesPaletteAndDropsTransparency) {
  const Image image = decode_image(samples::png(), "icon.png");
  EXPECT_EQ(image.width, 3);
  EXPECT_EQ(image.pixels, (Pixels{255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 0, 0, 255, 0, 255, 0}));
}

TEST(Image, ReadsByContentNotByName) {
  const test::Folder folder;
  EXPECT_EQ(read_image(folder.write("photo.png", samples::jpeg())), decode_image(samples::jpeg(), ""));
}

TEST(Image, NamesFileAndFault) {
  const test::Folder folder;
  expect_error<std::runtime_error>([&] { read_image(folder.path() + "/none.png"); }, {"none.png"});
  expect_error<std::runtime_error>([] { decode_image("", "a.jpg"); }, {"a.jpg", "empty"});
  const auto refused = [](std::string_view bytes, const std::string& what) {
    expect_error<std::runtime_error>([&] { decode_image(bytes, "a.jpg"); }, {"a.jpg: neither a JPEG nor a PNG image", what});
  };
  using std::string_view_literals::operator""sv;
  refused("hello", "");
  refused("GIF89a", "GIF");
  refused("BM\x36\x0c\0\0\0\0\0\0\x36\0\0\0\x28\0"sv, "BMP");
  refused("II*\0\x08\0\0\0"sv, "TIFF");
  refused("RIFF\x24\0\0\0WEBPVP8 "sv, "WebP");
  refused(
      "\0\0\0\x1c"
      "ftypavif\0\0\0\0"sv,
      "AVIF");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull");
  refused("<!DOCTYPE html><html><head>", "web page");
}

TEST(Image, EveryTruncationIsAnError) {
  for (const auto& whole : {samples::jpeg(), samples::cmyk_jpeg(), samples::png()}) {
    for (size_t length = 0; length < whole.size(); ++length) {
      expect_error<std::runtime_error>([&] { decode_image(std::string_view(whole).substr(0, length), "cut"); }, {"cut: "});
    }
  }
}

/// Pillow decodes what libjpeg goes on with. Expected pixels: Pillow 13.0.0's.
TEST(Image, DamagedJpegsAreDecodedWherePillowDoes) {
  const std::string whole = samples::jpeg();
  ImageInfo info;
  decode_image(whole, "whole", &info);
  EXPECT_EQ(info.damage, "");
  const size_t scan = whole.size() - 2 - 11;
  std::string early = whole;  // an end marker in the middle of the data
  early.replace(scan + 4, 2, "\xFF\xD9");
  const Image image = decode_image(early, "early", &info);
  EXPECT_EQ(image.pixels,
            (Pixels{16, 80, 6,   7,  71, 0,   1,  65, 0,   35, 99, 25,  26, 90,  16,  20,  84,  10,  64, 128, 54,  55, 119,
                    45, 50, 114, 40, 93, 157, 83, 84, 148, 74, 78, 142, 68, 112, 176, 102, 103, 167, 93, 97,  161, 87}));
  EXPECT_NE(info.damage.find("premature end of data segment"), std::string::npos) << info.damage;
  decode_image(whole + std::string(500, '\0') + "appended by a camera", "trailing", &info);
  EXPECT_EQ(info.damage, "");
  const std::string no_end = whole.substr(0, whole.size() - 2) + std::string(20, '\0');
  EXPECT_EQ(decode_image(no_end, "no end", &info), decode_image(whole, ""));
  EXPECT_EQ(info.damage, "the end marker is missing");
}

/// One byte changed at a time: an image or an error that names the file, nothing else.
TEST(Image, AnyDamagedByteIsSurvived) {
  int errors = 0, images = 0;
  for (const auto& whole : {samples::jpeg(), samples::cmyk_jpeg(), samples::png()}) {
    for (size_t i = 0; i < whole.size(); ++i) {
      for (const char flip : {'\x01', '\x80', '\xff'}) {
        std::string damaged = whole;
        damaged[i] ^= flip;
        try {
          const Image image = decode_image(damaged, "damaged");
          EXPECT_EQ(image.pixels.size(), static_cast<size_t>(image.width * image.height * 3));
          ++images;
        } catch (const std::runtime_error& error) {
          EXPECT_EQ(std::string(error.what()).rfind("damaged: ", 0), 0u) << error.what();
          ++errors;
        }
      }
    }
  }
  EXPECT_GT(errors, 300);
  EXPECT_GT(images, 100);
}

TEST(Image, RefusesSizesItCannotHold) {
  expect_error<std::runtime_error>([] { check_dimensions(100'000, 100'000, 1 << 30, "big"); },
                                   {"big", "100000 × 100000", "refused"});
  expect_error<std::runtime_error>([] { check_dimensions(INT32_MAX, INT32_MAX, 1 << 30, "big"); }, {"refused"});
  expect_error<std::runtime_error>([] { check_dimensions(0, 5, 100, "none"); }, {"none", "0 × 5"});
  expect_error<std::runtime_error>([] { check_dimensions(13'000, 13'000, 200, "liar"); }, {"liar", "cannot come from 200 bytes"});
  EXPECT_NO_THROW(check_dimensions(13'000, 13'000, 1 << 20, "large"));
}

TEST(Exif, FindsOrientationInEitherByteOrder) {
  // Byte order, 42, directory at 8: one entry, tag 0x0112, type SHORT, count 1, value.
  EXPECT_EQ(exif_orientation(samples::from_hex("49492a0008000000"
                                               "0100"
                                               "120103000100000006000000"
                                               "00000000")),
            6);
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002a00000008"
                                               "0001"
                                               "011200030000000100080000"
                                               "00000000")),
            8);
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002a00000008"
                                               "0001"
                                               "011200040000000100000003"
                                               "00000000")),
            3);  // LONG
}

TEST(Exif, NonsenseIsUpright) {
  EXPECT_EQ(exif_orientation(""), 1);
  EXPECT_EQ(exif_orientation("II"), 1);
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002a00000008"
                                               "0001"
                                               "011200030000000100090000")),
            1);  // 9
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002a00000008"
                                               "0001"
                                               "011200030000000100000000")),
            1);  // 0
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002a00000008"
                                               "ffff"
                                               "010f0002")),
            1);  // cut off
  EXPECT_EQ(exif_orientation(samples::from_hex("4d4d002affffffff"
                                               "0001")),
            1);  // elsewhere
}

}  // namespace
}  // namespace respeft::data
