// manifest.json: what a checkpoint is, by its own words. Read before anything is made of it, and never
// believed further than it was checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/network_settings.h"
#include "quotas/group_snapshot.h"
#include "quotas/meter.h"

namespace holm::checkpoint {

// Older ones are read, newer ones are refused.
inline constexpr int kFormat = 1;
inline constexpr size_t kMaxManifest = 64 << 20;

// A file of the checkpoint, by its path below the checkpoint's directory: "images/pages-1.img".
struct Part {
  std::string path;
  uint64_t size = 0;
  std::string digest;  // in hexadecimal
};

enum class DigestKind {
  sha256,  // of what may have been in other hands
  xxh128,  // of what never leaves the store, which only the host's root can change: finds what a disk does to
           // it. Of a file larger than 32 MiB, of the digests of its pieces of that size
};

// What was mounted from outside, by the name that it has in the images.
struct ExternalMount {
  std::string key;     // "node-null", "console", "bind-0"
  std::string source;  // node: "null"; bind: the path below the [[mount]] with this number
};

struct SavedLink {
  std::string name;  // inside: "eth0"
  std::string mac;
  std::vector<std::string> addresses;  // "10.0.3.10/24"
};

// Where the files that the container changed are.
enum class Files {
  in_place,  // still in the container's directory, which nothing has touched since
  archived,  // in the part "files.tar"
  shared,    // root = DIR: the directory itself, which is no part of the checkpoint
};

struct SavedProcess {
  int64_t pid = 0;  // in the container
  int64_t parent = 0;
  std::string command;
  uint64_t threads = 0;
  uint64_t memory = 0;  // bytes that it has in memory
  uint64_t mapped = 0;  // bytes of its memory map
  uint64_t files = 0;   // open descriptors
  uint64_t sockets = 0;
};

struct HostFactsOfSave {
  std::string kernel;   // uname -r
  std::string machine;  // uname -m
  std::string criu;     // "4.2.1"
  std::string cpu;      // model name
  std::vector<std::string> cpu_flags;
};

struct Manifest {
  int format = kFormat;
  std::string holm;  // version
  std::string name;
  std::string uuid;
  std::string config;  // what this run was given, as TOML
  int64_t saved_at = 0;
  int64_t started_at = 0;
  bool was_paused = false;
  uint32_t first_id = 0;      // of the range, or 0 without user namespace
  std::string template_made;  // when the template was made: another one of this name has other files
  Files files = Files::in_place;
  HostFactsOfSave host;
  std::string console;  // "tty[8800:1a]"; empty where it has none
  std::vector<ExternalMount> mounts;
  std::vector<SavedLink> links;
  netsetup::NetworkSettings network_settings;
  std::vector<std::string> pipes;  // standard streams that were pipes to the outside: "pipe:[1234]"
  std::vector<quotas::SavedHierarchy> groups;
  std::vector<SavedProcess> processes;
  std::vector<quotas::CounterReading> counters;  // of its whole life; none where it stays on its host
  uint64_t memory_pages = 0;                     // bytes of memory in the images
  DigestKind digest_kind = DigestKind::sha256;
  std::vector<Part> parts;
};

std::string encode_manifest(const Manifest& manifest);
// Throws where it is none, is of a newer format, or has what cannot be.
Manifest decode_manifest(std::string_view text);

}  // namespace holm::checkpoint
