# holm_protobuf(TARGET files.proto...): C++ of message definitions, as a library of its own without our warnings.
find_program(PROTOC protoc REQUIRED)

function(holm_protobuf target)
  set(generated)
  foreach(file ${ARGN})
    get_filename_component(name ${file} NAME_WE)
    get_filename_component(folder ${file} DIRECTORY)
    set(output ${CMAKE_BINARY_DIR}/generated/${folder}/${name}.pb)
    add_custom_command(
      OUTPUT ${output}.cc ${output}.h
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/generated
      COMMAND ${PROTOC} --proto_path=${CMAKE_SOURCE_DIR} --cpp_out=${CMAKE_BINARY_DIR}/generated
              ${CMAKE_SOURCE_DIR}/${file}
      DEPENDS ${CMAKE_SOURCE_DIR}/${file}
      VERBATIM)
    list(APPEND generated ${output}.cc)
  endforeach()
  add_library(${target} STATIC ${generated})
  target_include_directories(${target} SYSTEM PUBLIC ${CMAKE_BINARY_DIR}/generated)
  target_link_libraries(${target} PUBLIC holm_protobuf_lite)
endfunction()
