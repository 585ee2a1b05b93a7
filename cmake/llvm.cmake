# unstride_llvm: the parts of LLVM 19 that read, decode and model machine code. They are linked as archives, of which
# a program keeps 10 MB; libLLVM.so would add 15 ms to every start of the command.
find_package(LLVM 19.1 CONFIG REQUIRED PATHS /usr/lib/llvm-19)
llvm_map_components_to_libnames(unstride_llvm_archives
    aarch64desc aarch64disassembler aarch64info mc mca object x86desc x86disassembler x86info)

# LLVM's archives name libraries that nothing of these parts calls, and zstd, whose shared library comes with LLVM's but
# not its development package.
if (NOT TARGET zstd::libzstd_shared)
    find_library(UNSTRIDE_ZSTD NAMES zstd libzstd.so.1 REQUIRED)
    add_library(zstd::libzstd_shared SHARED IMPORTED)
    set_target_properties(zstd::libzstd_shared PROPERTIES IMPORTED_LOCATION ${UNSTRIDE_ZSTD})
endif ()

add_library(unstride_llvm INTERFACE)
target_include_directories(unstride_llvm SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS})
target_link_libraries(unstride_llvm INTERFACE ${unstride_llvm_archives})
target_link_options(unstride_llvm INTERFACE LINKER:--as-needed LINKER:--gc-sections)
