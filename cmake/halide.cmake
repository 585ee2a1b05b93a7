# Lets find_package(Halide) find the wheel that scripts/setup.sh installs into .venv, unless Halide_DIR or
# Halide_ROOT says otherwise.

if (NOT Halide_DIR AND NOT Halide_ROOT AND NOT DEFINED ENV{Halide_ROOT})
    file(GLOB halide_wheels LIST_DIRECTORIES TRUE
        ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/halide/lib64/cmake)
    if (halide_wheels)
        list(GET halide_wheels 0 halide_wheel)
        set(Halide_DIR ${halide_wheel}/Halide CACHE PATH "Folder of HalideConfig.cmake")
        set(HalideHelpers_DIR ${halide_wheel}/HalideHelpers CACHE PATH "Folder of HalideHelpersConfig.cmake")
    else ()
        message(STATUS "No Halide in ${PROJECT_SOURCE_DIR}/.venv: run scripts/setup.sh there, or set Halide_ROOT")
    endif ()
endif ()
