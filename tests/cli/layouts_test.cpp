#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

namespace fs = std::filesystem;

TEST(Layouts, AnAdapterInPeftsLayoutIsAnAdapterLikeAnother) {
  const SmallModel model("lora", {{"targets", "q,v,fc1"}});
  const std::string peft = model.folder / "peft";
  const Outcome exported =
      run({"export", "--weights", model.base(), "--adapter", model.adapter(), "--format", "peft", "--out", peft, "--json"});
  ASSERT_EQ(exported.status, 0) << exported.err;
  EXPECT_EQ(exported.json()["merged_sites"], 0);
  EXPECT_LT(exported.json()["file"]["relative_difference"], 1e-5);
  EXPECT_EQ(exported.json()["bytes"],
            fs::file_size(peft + "/adapter_config.json") + fs::file_size(peft + "/adapter_model.safetensors"));
  // The folder says which model it is for, and which base.
  EXPECT_LT(relative_difference(model.logits, model.predict({"--weights", model.base(), "--adapter", peft})), 1e-5);
  const Outcome info = run({"info", peft, "--json"});
  EXPECT_EQ(info.json()["adapter_config"]["peft_type"], "LORA");
  EXPECT_EQ(info.json()["metadata"]["model"], kModel);
  formats::save_safetensors(model.folder / "other.safetensors", {{"head.weight", at::zeros({1, 1})}});
  expect_error(run({"predict", "--weights", model.folder / "other.safetensors", "--adapter", peft, "--pixels", model.pixels(),
                    "--logits", model.folder / "out"}),
               2, {"was trained on other weights", "--any-base"});
}

TEST(Layouts, AFolderIsPutInANewPlace) {
  const SmallModel model;
  const auto command = [&](const std::string& format, const std::string& out) {
    return std::vector<std::string>{"export",   "--weights", model.base(), "--adapter", model.adapter(),
                                    "--format", format,      "--out",      out};
  };
  const size_t files = model.folder.names().size();
  expect_error(run(command("huggingface", model.folder.path())), 1, {model.folder.path(), "not empty"});
  expect_error(run(command("huggingface", model.base())), 1, {"base.safetensors", "is a file"});
  expect_error(run(command("timm-folder", model.folder / "no/such")), 1, {"no/such", "there is no folder"});
  expect_error(run(command("peft", model.folder / "out")), 2, {"PEFT has no method like rlrr"});
  expect_error(run({"export", "--weights", model.base(), "--model", kModel, "--format", "peft", "--out", model.folder / "out"}),
               2, {"--format peft writes an adapter", "--adapter"});
  EXPECT_EQ(model.folder.names().size(), files);
  ASSERT_EQ(run(command("huggingface", model.folder / "out/")).status, 0);
  EXPECT_EQ(names_in(model.folder / "out"),
            (std::vector<std::string>{"config.json", "model.safetensors", "preprocessor_config.json"}));
  EXPECT_EQ(model.folder.names().size(), files + 1);
  const std::vector<std::string> weights = {"--weights", model.folder / "out/model.safetensors"};
  EXPECT_LT(relative_difference(model.logits, model.predict(weights)), 1e-4);
}

}  // namespace
}  // namespace respeft::test
