# unstride_add_library: makes a library target out of a file of layers, in any project that has the `unstride`
# command: from find_package(Unstride), from Unstride's own sources in the same build, or, when
# cross-compiling, from the build machine.
#
#   unstride_add_library(NAME LAYERS FILE.layers [TARGETS TARGET...] [LAYER LAYER...]
#                        [WEIGHTS DIR|FILE.safetensors [EXACT] [TENSORFLOW_FILTERS]]
#                        [DATABASE DIR|FILE.jsonl] [REQUIRE GRADE])
#
# Link NAME to get the archive and `#include "NAME.h"` (and <unstride/unstride.hpp> for the C++ wrapper). NAME
# prefixes every symbol. TARGETS are those of `unstride build`; without it the one for CMAKE_SYSTEM_PROCESSOR
# is built. With several, NAME links the one for CMAKE_SYSTEM_PROCESSOR and each has a target of its own,
# NAME::x86-64, NAME::aarch64, NAME::cuda, .... LAYER picks layers of the file. With WEIGHTS the library holds
# the layers' weights; EXACT and TENSORFLOW_FILTERS are the options of `unstride build`. DATABASE are the tuning
# records to use besides the shipped ones (without it, those that `unstride build` finds in the user's own
# folder), REQUIRE the least grade of a schedule to accept. The library is rebuilt when the file, its weights,
# the records of DATABASE or the compiler change.

include_guard(GLOBAL)

# The target of `unstride build` for the processor that is compiled for, or an empty string.
function(unstride_processor_target result)
    set(${result} "" PARENT_SCOPE)
    if (CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
        set(${result} x86-64 PARENT_SCOPE)
    elseif (CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
        set(${result} aarch64 PARENT_SCOPE)
    endif ()
endfunction()

# The command as a path or generator expression, and the root that it is installed or built in. Looked for in
# this order: Unstride's sources in this build, the installation that find_package found, Unstride_ROOT, PATH.
function(unstride_find_compiler compiler_result root_result)
    if (TARGET unstride)
        set(${compiler_result} $<TARGET_FILE:unstride> PARENT_SCOPE)
        get_target_property(binary_dir unstride RUNTIME_OUTPUT_DIRECTORY)
        cmake_path(GET binary_dir PARENT_PATH root)
        set(${root_result} ${root} PARENT_SCOPE)
        return()
    endif ()
    if (NOT Unstride_COMPILER)
        find_program(Unstride_COMPILER unstride HINTS ${Unstride_ROOT}/bin $ENV{Unstride_ROOT}/bin
            NO_CMAKE_FIND_ROOT_PATH DOC "The unstride command, of the machine that builds")
    endif ()
    if (NOT EXISTS "${Unstride_COMPILER}")
        message(FATAL_ERROR "unstride_add_library: the unstride command was not found; set Unstride_ROOT to its prefix")
    endif ()
    file(REAL_PATH ${Unstride_COMPILER} compiler)
    cmake_path(GET compiler PARENT_PATH bin)
    cmake_path(GET bin PARENT_PATH root)
    set(${compiler_result} ${compiler} PARENT_SCOPE)
    set(${root_result} ${root} PARENT_SCOPE)
endfunction()

# The absolute path of a file or a folder that a library is made of, and the files to depend on: itself, or those
# in the folder that match.
function(unstride_file_or_folder path_result files_result name path pattern)
    cmake_path(ABSOLUTE_PATH path NORMALIZE)
    if (NOT EXISTS ${path})
        message(FATAL_ERROR "unstride_add_library(${name}): there is no file or folder ${path}")
    endif ()
    set(files ${path})
    if (IS_DIRECTORY ${path})
        file(GLOB files CONFIGURE_DEPENDS ${path}/${pattern})
    endif ()
    set(${path_result} ${path} PARENT_SCOPE)
    set(${files_result} ${files} PARENT_SCOPE)
endfunction()

function(unstride_add_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EXACT;TENSORFLOW_FILTERS"
        "LAYERS;WEIGHTS;DATABASE;REQUIRE" "TARGETS;LAYER")
    if (arg_UNPARSED_ARGUMENTS OR arg_KEYWORDS_MISSING_VALUES)
        message(FATAL_ERROR
            "unstride_add_library(${name}): cannot use: ${arg_UNPARSED_ARGUMENTS} ${arg_KEYWORDS_MISSING_VALUES}")
    endif ()
    if (NOT arg_LAYERS)
        message(FATAL_ERROR "unstride_add_library(${name}): LAYERS FILE.layers is missing")
    endif ()
    cmake_path(ABSOLUTE_PATH arg_LAYERS NORMALIZE OUTPUT_VARIABLE layers)
    if (NOT EXISTS ${layers})
        message(FATAL_ERROR "unstride_add_library(${name}): there is no file ${layers}")
    endif ()

    set(options)
    set(weight_files)
    if (arg_WEIGHTS)
        unstride_file_or_folder(weights weight_files ${name} ${arg_WEIGHTS} *.npy)
        list(APPEND options --weights ${weights})
    elseif (arg_EXACT OR arg_TENSORFLOW_FILTERS)
        message(FATAL_ERROR "unstride_add_library(${name}): EXACT and TENSORFLOW_FILTERS need WEIGHTS")
    endif ()
    if (arg_EXACT)
        list(APPEND options --exact)
    endif ()
    if (arg_TENSORFLOW_FILTERS)
        list(APPEND options --tensorflow-filters)
    endif ()
    set(records)
    if (arg_DATABASE)
        unstride_file_or_folder(database records ${name} ${arg_DATABASE} *.jsonl)
        list(APPEND options --db ${database})
    endif ()
    if (arg_REQUIRE)
        list(APPEND options --require ${arg_REQUIRE})
    endif ()

    unstride_processor_target(processor_target)
    if (NOT arg_TARGETS)
        set(arg_TARGETS ${processor_target})
    endif ()
    list(LENGTH arg_TARGETS target_count)
    if (processor_target IN_LIST arg_TARGETS)
        set(linked ${processor_target})
    elseif (target_count EQUAL 1 AND processor_target STREQUAL x86-64 AND arg_TARGETS MATCHES "^(cuda|opencl)$")
        set(linked ${arg_TARGETS})
    else ()
        message(FATAL_ERROR
            "unstride_add_library(${name}): no target of '${arg_TARGETS}' is for ${CMAKE_SYSTEM_PROCESSOR}")
    endif ()

    unstride_find_compiler(compiler root)
    set(include_dir ${root}/share/unstride/runtime/include)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/unstride/${name})
    set(files)
    foreach (target IN LISTS arg_TARGETS)
        list(APPEND options --target ${target})
        list(APPEND files
            ${folder}/${target}/lib${name}.a ${folder}/${target}/${name}.h ${folder}/${target}/manifest.json)
    endforeach ()
    foreach (layer IN LISTS arg_LAYER)
        list(APPEND options --layer ${layer})
    endforeach ()
    set(tools ${compiler} ${root}/libexec/unstride/unstride-generators)
    if (TARGET unstride)
        set(tools unstride unstride-generators)
    endif ()
    add_custom_command(OUTPUT ${files}
        COMMAND ${compiler} build ${layers} --name ${name} ${options} --out ${folder} --quiet
        DEPENDS ${layers} ${weight_files} ${records} ${tools}
        COMMENT "Compiling the layers of library ${name}"
        VERBATIM)
    add_custom_target(${name}_archive DEPENDS ${files})

    foreach (target IN LISTS arg_TARGETS)
        file(MAKE_DIRECTORY ${folder}/${target} ${include_dir})
        add_library(${name}::${target} STATIC IMPORTED GLOBAL)
        add_dependencies(${name}::${target} ${name}_archive)
        set_target_properties(${name}::${target} PROPERTIES
            IMPORTED_LOCATION ${folder}/${target}/lib${name}.a
            INTERFACE_INCLUDE_DIRECTORIES "${folder}/${target};${include_dir}"
            INTERFACE_LINK_LIBRARIES "pthread;dl;m")
    endforeach ()
    add_library(${name} INTERFACE)
    add_dependencies(${name} ${name}_archive)
    target_link_libraries(${name} INTERFACE ${name}::${linked})
endfunction()
