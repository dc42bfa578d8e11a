# holm_module(NAME PUBLIC targets... PRIVATE targets...): the folder NAME as a library target of that name.
function(holm_module name)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC} ${ARG_PRIVATE})
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} holm_warnings)
  holm_precompile(${name} <fmt/core.h> <functional> <map> <optional> <string> <vector>)
endfunction()

# holm_precompile(TARGET headers...): parses heavy headers once for a whole target; they take most of the time to build.
function(holm_precompile target)
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)  # ccache would not find what it has
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()
