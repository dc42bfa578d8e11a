# The system call filters, compiled from isolation/seccomp_policy.cpp while Holm is built.
# Included after the target `isolation` is made.
add_subdirectory(${CMAKE_SOURCE_DIR}/isolation/seccomp_compile)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(seccomp_machine x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(seccomp_machine aarch64)
else()
  message(FATAL_ERROR "no system call filter for ${CMAKE_SYSTEM_PROCESSOR}: Holm runs on x86_64 and aarch64")
endif()

set(seccomp_programs ${CMAKE_BINARY_DIR}/generated/seccomp_programs.cpp)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated)
add_custom_command(
  OUTPUT ${seccomp_programs}
  COMMAND seccomp_compile ${seccomp_machine} ${seccomp_programs}
  DEPENDS seccomp_compile
  COMMENT "Compiling the system call filters for ${seccomp_machine}"
  VERBATIM)
target_sources(isolation PRIVATE ${seccomp_programs})
