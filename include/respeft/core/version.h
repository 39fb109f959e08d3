#pragma once

/// The library's version, for the preprocessor. CMakeLists.txt reads it from here.
#define RESPEFT_VERSION_MAJOR 0
#define RESPEFT_VERSION_MINOR 1
#define RESPEFT_VERSION_PATCH 0
#define RESPEFT_VERSION_STRING "0.1.0"
