#pragma once

#include <c10/core/Device.h>

#include <string>

/// What the operators' tests run on: a GPU, or an emulated one, whose memory is the host's.
namespace respeft::ops::test {

extern const at::DeviceType kDevice;

/// Why there is none here; empty if there is.
std::string why_no_device();

/// Fails the test if anything was found besides wrong numbers.
void expect_no_faults();

}  // namespace respeft::ops::test
