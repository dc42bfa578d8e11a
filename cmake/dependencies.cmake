find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)  # its headers; base/fmt_library.cpp compiles it in
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)  # its headers; the target would link the shared library
find_package(CLI11 REQUIRED)
find_package(doctest REQUIRED)
pkg_check_modules(CAP REQUIRED IMPORTED_TARGET libcap)  # the kernel's words in the tests
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(NL_ROUTE REQUIRED IMPORTED_TARGET libnl-route-3.0)
# The static libraries where there are some: loading the shared ones costs 0.75 ms at each start.
find_library(NL_ROUTE_ARCHIVE NAMES libnl-route-3.a)
find_library(NL_ARCHIVE NAMES libnl-3.a)
add_library(holm_nl_route INTERFACE)
if(NL_ROUTE_ARCHIVE AND NL_ARCHIVE)
  target_include_directories(holm_nl_route SYSTEM INTERFACE ${NL_ROUTE_INCLUDE_DIRS})
  target_link_libraries(holm_nl_route INTERFACE ${NL_ROUTE_ARCHIVE} ${NL_ARCHIVE} m)
else()
  target_link_libraries(holm_nl_route INTERFACE PkgConfig::NL_ROUTE)
endif()
pkg_check_modules(NFTABLES REQUIRED IMPORTED_TARGET libnftables)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)  # its headers; quotas/systemd_bus.cpp loads it
pkg_check_modules(ARCHIVE REQUIRED IMPORTED_TARGET libarchive)
