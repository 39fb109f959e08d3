#include <gtest/gtest.h>
#include <respeft/nn/names.h>

namespace respeft::nn {
namespace {

TEST(Names, AdapterTensorsTellTheirSite) {
  EXPECT_TRUE(is_adapter_name("blocks.3.attn.qkv.adapter.q.lora_A"));
  EXPECT_EQ(site_of("blocks.3.attn.qkv.adapter.q.lora_A"), "blocks.3.attn.qkv");
  EXPECT_FALSE(is_adapter_name("blocks.3.attn.qkv.weight"));
  EXPECT_EQ(site_of("blocks.3.attn.qkv.weight"), "");
}

TEST(Names, HeadTensorsStartWithHead) {
  EXPECT_TRUE(is_head_name("head.weight"));
  EXPECT_FALSE(is_head_name("heads.weight"));
  EXPECT_FALSE(is_head_name("blocks.0.head.weight"));
}

}  // namespace
}  // namespace respeft::nn
