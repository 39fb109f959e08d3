#pragma once

/// Everything a user of the library needs.

#include <respeft/merge.h>
#include <respeft/methods/bitfit.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/method.h>
#include <respeft/methods/plain.h>
#include <respeft/methods/rlrr.h>
#include <respeft/methods/ssf.h>
#include <respeft/models/model.h>
#include <respeft/models/vit.h>
#include <respeft/nn/adapter.h>
#include <respeft/nn/forward_pass.h>
#include <respeft/nn/layer_norm.h>
#include <respeft/nn/linear.h>
#include <respeft/nn/patch_embed.h>
#include <respeft/nn/site.h>
#include <respeft/ops/rescaled_linear.h>
