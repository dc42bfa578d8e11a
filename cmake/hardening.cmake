# PIE, full RELRO, stack protector, FORTIFY and CET for everything that is built here.
add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection=full -ffunction-sections -fdata-sections)
add_link_options(-Wl,-z,relro,-z,now -Wl,-z,pack-relative-relocs -Wl,-z,noexecstack -Wl,--as-needed -Wl,--gc-sections -pie)
if(HOLM_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
else()
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  # A C++ runtime inside the program saves the dynamic linker half a millisecond at each start.
  add_link_options(-static-libstdc++ -static-libgcc)
endif()
