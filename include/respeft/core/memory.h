#pragma once

namespace respeft {

/// Makes glibc keep freed memory for the next allocation instead of returning it to the system.
///
/// glibc returns every block over 32 MB as soon as it is freed, and the next step requests it again, page by page: training
/// with LibTorch on a CPU then spends up to half its time in the kernel. Call this once, at the start of a program that trains.
/// It affects the whole process, whose resident memory then stays at its peak. It has no effect with other C libraries.
void keep_freed_memory();

}  // namespace respeft
