#include "tests/fuzz/readers.h"

#include <ATen/ATen.h>
#include <zlib.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/adapters/adapter_file.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/file.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/methods/method.h>
#include <respeft/models/vit/weight_map.h>
#include <respeft/models/weight_map.h>
#include <respeft/runs/config.h>

#include "src/adapters/peft_config.h"
#include "src/data/image/codecs.h"
#include "src/formats/pickle.h"
#include "src/formats/zip.h"
#include "src/models/companions.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft::fuzz {
namespace {

/// A place for files, one a process.
const test::Folder& folder() {
  static const test::Folder place;
  return place;
}

/// Everything that is done with a weights file before its tensors meet a model.
void read_tensors(const std::string& path) {
  const auto file = formats::open_tensor_file(path);
  std::string layout;
  try {
    models::to_timm_layout(file->shapes(), layout);
  } catch (const std::runtime_error&) {  // the names of no Vision Transformer
  }
  for (const auto& [key, entry] : file->entries()) {
    if (file->tensor(key).sizes() != at::IntArrayRef(entry.shape))
      throw std::logic_error(key + ": another shape than was promised");
  }
}

void read_weights(std::string_view bytes) {
  read_tensors(folder().write("weights", bytes));
}

void read_zip(std::string_view bytes) {
  const formats::ZipArchive archive(bytes, "f");
  for (const auto& [name, entry] : archive.entries()) formats::ZipStream(archive, name).rest();
}

/// A zip archive of these files, stored.
std::string archive(const std::vector<std::pair<std::string, std::string>>& files) {
  const auto number = [](auto value) { return std::string(reinterpret_cast<const char*>(&value), sizeof(value)); };
  const auto u16 = [&](size_t value) { return number(static_cast<uint16_t>(value)); };
  const auto u32 = [&](size_t value) { return number(static_cast<uint32_t>(value)); };
  std::string all, directory;
  for (const auto& [name, content] : files) {
    const auto crc = ::crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size());
    const std::string common =
        u16(20) + u16(0) + u16(0) + u32(0) + u32(crc) + u32(content.size()) + u32(content.size()) + u16(name.size()) + u16(0);
    directory += u32(0x02014b50) + u16(20) + common + u16(0) + u16(0) + u16(0) + u32(0) + u32(all.size()) + name;
    all += u32(0x04034b50) + common + name + content;
  }
  return all + directory + u32(0x06054b50) + u16(0) + u16(0) + u16(files.size()) + u16(files.size()) + u32(directory.size()) +
         u32(all.size()) + u16(0);
}

/// A pickle, also as that of an archive around it, which has the storages of the corpus's seeds.
void read_pickle(std::string_view bytes) {
  formats::Pickle(bytes).root().description();
  read_weights(archive({{"x/data.pkl", std::string(bytes)},
                        {"x/data/0", std::string(48, '\1')},
                        {"x/data/1", std::string(8, '\1')},
                        {"x/data/2", std::string(16, '\1')},
                        {"x/data/3", std::string(2, '\1')}}));
}

void read_index(std::string_view bytes) {
  static const bool made = [] {
    formats::save_safetensors(folder() / "model-00001-of-00001.safetensors", {{"a", at::ones({2})}});
    return true;
  }();
  static_cast<void>(made);
  read_tensors(folder().write("model.safetensors.index.json", bytes));
}

/// Loads an adapter and attaches it to a model of two small blocks.
void attach_from(const std::string& path) {
  static const auto model = [] {
    auto config = test::small_config();
    config.name = "tiny";
    config.image_size = 8;
    config.num_classes = 2;
    config.embed_dim = 8;
    config.mlp_dim = 16;
    return std::make_shared<models::VisionTransformerImpl>(config);
  }();
  adapters::attach_adapter(*model, adapters::load_adapter(path));
  detach(*model);
}

void read_adapter(std::string_view bytes) {
  attach_from(folder().write("adapter.safetensors", bytes));
}

/// The configuration in one line, then the tensors.
void read_peft_adapter(std::string_view bytes) {
  const size_t end = std::min(bytes.find('\n'), bytes.size());
  folder().write("peft/adapter_config.json", bytes.substr(0, end));
  folder().write("peft/adapter_model.safetensors", bytes.substr(std::min(end + 1, bytes.size())));
  attach_from(folder() / "peft");
}

void read_peft(std::string_view bytes) {
  adapters::peft_config_from_json(std::string(bytes));
}

void read_preprocessing(std::string_view bytes) {
  data::preprocessing_from_json(std::string(bytes));
}

/// What stands beside weights: timm's or Transformers' configuration of a model, or of its preprocessing.
void read_companions(std::string_view bytes) {
  folder().write("companions/config.json", bytes);
  folder().write("companions/preprocessor_config.json", bytes);
  static const auto model = test::random_model(test::small_config());
  const auto each = [](const auto&... calls) {
    const auto attempt = [](const auto& call) {
      try {
        call();
      } catch (const std::runtime_error&) {
      }
    };
    (attempt(calls), ...);
  };
  const models::Companions found(folder() / "companions/model.safetensors");
  const auto& map = model->family().weights();
  each([&] { found.preprocessing(); }, [&] { found.normalization(); }, [&] { found.class_names(); }, [&] { found.image_size(); },
       [&] { found.architecture(); }, [&] { found.pool(); },
       [&] { map.check_config(*model, "timm", found.config_text(), found.config_file()); },
       [&] { map.check_config(*model, "huggingface", found.config_text(), found.config_file()); });
}

void read_config(std::string_view bytes) {
  runs::parse_config(std::string(bytes), "f");
}

void read_jpeg(std::string_view bytes) {
  data::decode_jpeg(bytes, "f");
}

void read_png(std::string_view bytes) {
  data::decode_png(bytes, "f");
}

void read_exif(std::string_view bytes) {
  const int orientation = data::exif_orientation(bytes);
  if (orientation < 1 || orientation > 8) throw std::logic_error("an orientation that does not exist");
}

void read_idx(std::string_view bytes) {
  static const std::string labels = folder().write("idx/train-labels-idx1-ubyte", std::string_view("\0\0\10\1\0\0\0\1\0", 9));
  static_cast<void>(labels);
  folder().write("idx/train-images-idx3-ubyte", bytes);
  data::open_dataset("fashion-mnist:" + (folder() / "idx"), data::Split::train);
}

void read_vtab(std::string_view bytes) {
  folder().write("cifar/train800.txt", bytes);
  data::open_dataset("vtab:" + (folder() / "cifar"), data::Split::train);
}

void read_fgvc(std::string_view bytes) {
  static const std::string image = folder().write("CUB_200_2011/images/001.Albatross/a.jpg", "");
  static_cast<void>(image);
  folder().write("CUB_200_2011/train.json", bytes);
  data::open_dataset("fgvc:" + (folder() / "CUB_200_2011"), data::Split::train);
}

}  // namespace

const std::vector<Reader>& readers() {
  static const std::vector<Reader> all = {{"safetensors", read_weights},
                                          {"zip", read_zip},
                                          {"npz", read_weights},
                                          {"pickle", read_pickle},
                                          {"pytorch", read_weights},
                                          {"index", read_index},
                                          {"adapter", read_adapter},
                                          {"peft_adapter", read_peft_adapter},
                                          {"peft", read_peft},
                                          {"preprocessing", read_preprocessing},
                                          {"companions", read_companions},
                                          {"config", read_config},
                                          {"jpeg", read_jpeg},
                                          {"png", read_png},
                                          {"exif", read_exif},
                                          {"idx", read_idx},
                                          {"vtab", read_vtab},
                                          {"fgvc", read_fgvc}};
  return all;
}

const Reader& reader(const std::string& name) {
  const auto found = std::find_if(readers().begin(), readers().end(), [&](const Reader& known) { return known.name == name; });
  if (found == readers().end()) throw std::logic_error("no reader is called " + name);
  return *found;
}

bool read(std::string_view bytes, const Reader& reader) {
  try {
    reader.run(bytes);
    return true;
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {
  }
  return false;
}

}  // namespace respeft::fuzz
