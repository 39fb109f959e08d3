#include "tests/fuzz/readers.h"

#include <algorithm>
#include <stdexcept>

#include <respeft/data/dataset.h>
#include <respeft/data/image.h>
#include <respeft/io/file.h>
#include <respeft/io/preprocessing.h>
#include <respeft/io/tensor_file.h>
#include <respeft/io/weights.h>
#include <respeft/train/config.h>

#include "src/data/codecs.h"
#include "src/io/peft_config.h"
#include "src/io/pickle.h"
#include "src/io/zip.h"
#include "tests/folder.h"

namespace respeft::fuzz {
namespace {

/// A place for files, one a process.
const test::Folder& folder() {
  static const test::Folder place;
  return place;
}

/// Everything that is done with a weights file before its tensors meet a model.
void read_tensors(const std::string& path) {
  const auto file = io::open_tensor_file(path);
  std::string layout;
  try {
    io::to_timm_layout(file->shapes(), layout);
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
  const io::ZipArchive archive(bytes, "f");
  for (const auto& [name, entry] : archive.entries()) io::ZipStream(archive, name).rest();
}

/// Many small tensors and none of the archive around them: the fuzzer need not get checksums right.
void read_pickle(std::string_view bytes) {
  io::Pickle(bytes).root().description();
}

void read_index(std::string_view bytes) {
  static const bool made = [] {
    io::save_safetensors(folder() / "model-00001-of-00001.safetensors", {});
    return true;
  }();
  static_cast<void>(made);
  read_tensors(folder().write("model.safetensors.index.json", bytes));
}

void read_peft(std::string_view bytes) {
  io::peft_config_from_json(std::string(bytes));
}

void read_preprocessing(std::string_view bytes) {
  io::preprocessing_from_json(std::string(bytes));
}

void read_config(std::string_view bytes) {
  train::parse_config(std::string(bytes), "f");
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
                                          {"peft", read_peft},
                                          {"preprocessing", read_preprocessing},
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

void read(std::string_view bytes, const Reader& reader) {
  try {
    reader.run(bytes);
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace respeft::fuzz
