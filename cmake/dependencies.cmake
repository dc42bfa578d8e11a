find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)  # its headers; base/fmt_library.cpp compiles it in
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)  # its headers; the target would link the shared library
find_package(CLI11 REQUIRED)
find_package(doctest REQUIRED)
pkg_check_modules(CAP REQUIRED IMPORTED_TARGET libcap)  # the kernel's words in the tests
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
# holm_library(TARGET PACKAGE ARCHIVES...): the static libraries where all are there, as loading the shared ones costs 0.75 ms
# at each start (libnl); else those.
function(holm_library target package)
  pkg_check_modules(${target} REQUIRED IMPORTED_TARGET ${package})
  set(archives)
  foreach(name ${ARGN})
    find_library(${target}_${name} NAMES ${name})
    list(APPEND archives ${${target}_${name}})
  endforeach()
  add_library(${target} INTERFACE)
  if("${archives}" MATCHES "NOTFOUND")
    target_link_libraries(${target} INTERFACE PkgConfig::${target})
  else()
    target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE_DIRS})
    target_link_libraries(${target} INTERFACE ${archives} m)
  endif()
endfunction()
holm_library(holm_nl_route libnl-route-3.0 libnl-route-3.a libnl-3.a)
holm_library(holm_sqlite sqlite3 libsqlite3.a)
holm_library(holm_nettle nettle libnettle.a)
holm_library(holm_zstd libzstd libzstd.a)
holm_library(holm_xxhash libxxhash libxxhash.a)
holm_library(holm_protobuf_lite protobuf-lite libprotobuf-lite.a)
pkg_check_modules(NFTABLES REQUIRED IMPORTED_TARGET libnftables)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)  # its headers; quotas/systemd_bus.cpp loads it
pkg_check_modules(ARCHIVE REQUIRED IMPORTED_TARGET libarchive)
