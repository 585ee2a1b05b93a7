# The identity of what the generators make: a hash over their sources, which unlike one over the program is the
# same wherever and with whatever compiler they were built. Records of tuned schedules carry it.

file(GLOB generator_sources RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/compiler/language/*.cpp ${PROJECT_SOURCE_DIR}/compiler/language/*.h
    ${PROJECT_SOURCE_DIR}/compiler/lowering/*.cpp ${PROJECT_SOURCE_DIR}/compiler/lowering/*.h
    ${PROJECT_SOURCE_DIR}/generators/*.cpp ${PROJECT_SOURCE_DIR}/generators/*.h
    ${PROJECT_SOURCE_DIR}/schedules/*.cpp ${PROJECT_SOURCE_DIR}/schedules/*.h)
# These choose and keep schedules; what is made of one does not depend on them.
list(FILTER generator_sources EXCLUDE REGEX
    "schedules/([a-z]*_default|default_model|database|json_line|lookup|record_constraints|search_rules|search_space|tuning_record)\\.")
list(TRANSFORM generator_sources PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE generator_source_paths)

set(generator_sources_header ${CMAKE_BINARY_DIR}/generated/generator_sources.h)
string(REPLACE ";" "," generator_sources_argument "${generator_sources}")
add_custom_command(OUTPUT ${generator_sources_header}
    COMMAND ${CMAKE_COMMAND} -D FOLDER=${PROJECT_SOURCE_DIR} -D FILES=${generator_sources_argument}
        -D HEADER=${generator_sources_header} -P ${PROJECT_SOURCE_DIR}/cmake/hash_files.cmake
    DEPENDS ${generator_source_paths} ${PROJECT_SOURCE_DIR}/cmake/hash_files.cmake
    VERBATIM)
