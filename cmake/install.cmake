# What `cmake --install` writes: the command, the generator program with the libHalide.so it needs beside it,
# the runtime sources that go into every library, the records of tuned schedules, the CMake package and the
# pkg-config file. The tree can be moved as a whole.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# The command finds these from its own place, so their places are fixed (tools/library/installation.h).
install(TARGETS unstride RUNTIME DESTINATION bin)
set_target_properties(unstride-generators PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS unstride-generators RUNTIME DESTINATION libexec/unstride)
install(TARGETS unstride_count_instructions LIBRARY DESTINATION libexec/unstride)
install(FILES $<TARGET_FILE:Halide::Halide> DESTINATION libexec/unstride
    PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
get_target_property(unstride_halide_library Halide::Halide LOCATION)
cmake_path(GET unstride_halide_library PARENT_PATH unstride_halide_folder)
file(GLOB unstride_autoschedulers ${unstride_halide_folder}/libautoschedule_*.so)
install(FILES ${unstride_autoschedulers} DESTINATION libexec/unstride)
install(DIRECTORY ${CMAKE_BINARY_DIR}/share/unstride/runtime ${CMAKE_BINARY_DIR}/share/unstride/schedules
    DESTINATION share/unstride)

set(unstride_package ${CMAKE_INSTALL_LIBDIR}/cmake/Unstride)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/UnstrideConfig.cmake.in
    ${PROJECT_BINARY_DIR}/UnstrideConfig.cmake INSTALL_DESTINATION ${unstride_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/UnstrideConfigVersion.cmake
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
    ${PROJECT_BINARY_DIR}/UnstrideConfig.cmake
    ${PROJECT_BINARY_DIR}/UnstrideConfigVersion.cmake
    ${PROJECT_SOURCE_DIR}/cmake/UnstrideAddLibrary.cmake
    DESTINATION ${unstride_package})

set(unstride_pkgconfig ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH unstride_prefix_from_pkgconfig /prefix/${unstride_pkgconfig} /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/unstride.pc.in ${PROJECT_BINARY_DIR}/unstride.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/unstride.pc DESTINATION ${unstride_pkgconfig})
