// Changing keys of a config's text without touching the rest of it.
#include "runtime/config_edit.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace holm;
using namespace holm::runtime;

namespace {

std::string edited(const std::string& text, const std::string& path, const std::string& value) {
  return edit_config(text, {{path, value}});
}

}  // namespace

TEST_CASE("a value changes in its place, with all comments kept") {
  const std::string text =
      "# my web server\nname = \"web\"  # unique\n\n[cpu]  # fair\n  weight = 256 # as "
      "Xen\ncap=50\n\n[memory]\n"
      "limit = \"512M\"\t# all that there is\n";
  CHECK(edited(text, "cpu.weight", "512") ==
        "# my web server\nname = \"web\"  # unique\n\n[cpu]  # fair\n  weight = 512 # as "
        "Xen\ncap=50\n\n[memory]\n"
        "limit = \"512M\"\t# all that there is\n");
  CHECK(edited(text, "memory.limit", "\"1G\"").ends_with("limit = \"1G\"\t# all that there is\n"));
  CHECK(edited(text, "cpu.cap", "7").find("\ncap=7\n") != std::string::npos);
}

TEST_CASE("a new key comes behind the last one of its table") {
  CHECK(edited("[cpu]\nweight = 5 # w\n\n[pids]\nlimit = 9\n", "cpu.cap", "50") ==
        "[cpu]\nweight = 5 # w\ncap = 50\n\n[pids]\nlimit = 9\n");
  CHECK(edited("[cpu] # none yet\n[pids]\nlimit = 9\n", "cpu.cap", "50") ==
        "[cpu] # none yet\ncap = 50\n[pids]\nlimit = 9\n");
  CHECK(edited("[cpu]\nweight = 5", "cpu.cap", "50") == "[cpu]\nweight = 5\ncap = 50");
}

TEST_CASE("a new table comes at the end of the file") {
  CHECK(edited("name = \"web\"\n[[network]]\nmode = \"none\"", "cpu.cap", "50") ==
        "name = \"web\"\n[[network]]\nmode = \"none\"\n\n[cpu]\ncap = 50\n");
  CHECK(edited("", "cpu.cap", "50") == "\n[cpu]\ncap = 50\n");
}

TEST_CASE("inline tables and dotted keys stay what they are") {
  CHECK(edited("cpu = { weight = 5 }\nname = \"web\"\n", "cpu.weight", "6") ==
        "cpu = { weight = 6 }\nname = \"web\"\n");
  CHECK(edited("cpu = { weight = 5 }\n", "cpu.cap", "50") == "cpu = { weight = 5, cap = 50 }\n");
  CHECK(edited("cpu = {}\n", "cpu.cap", "50") == "cpu = { cap = 50 }\n");
  CHECK(edited("cpu.weight = 5 # w\nname = \"web\"\n", "cpu.weight", "6") ==
        "cpu.weight = 6 # w\nname = \"web\"\n");
  CHECK(edited("cpu.weight = 5 # w\nname = \"web\"\n", "cpu.cap", "50") ==
        "cpu.weight = 5 # w\ncpu.cap = 50\nname = \"web\"\n");
}

TEST_CASE("a key that goes takes its line along, unless a comment stands on it") {
  const std::string text = "[cpu]\nweight = 5\ncap = 50  # half\ncount = 1\n";
  CHECK(edited(text, "cpu.weight", "") == "[cpu]\ncap = 50  # half\ncount = 1\n");
  CHECK(edited(text, "cpu.cap", "") == "[cpu]\nweight = 5\n# half\ncount = 1\n");
  CHECK(edited(text, "cpu.count", "") == "[cpu]\nweight = 5\ncap = 50  # half\n");
  CHECK(edited(text, "cpu.pin", "") == text);
  CHECK(edited(text, "memory.limit", "") == text);
  CHECK(edited("[cpu]\ncap = 50", "cpu.cap", "") == "[cpu]\n");
  CHECK(edited("cpu.weight = 5\ncpu.cap = 50 # half\n", "cpu.cap", "") == "cpu.weight = 5\n# half\n");
  CHECK(edited("cpu = { weight = 5, cap = 50, count = 1 }\n", "cpu.weight", "") ==
        "cpu = { cap = 50, count = 1 }\n");
  CHECK(edited("cpu = { weight = 5, cap = 50 }\n", "cpu.cap", "") == "cpu = { weight = 5 }\n");
  CHECK(edited("cpu = { cap = 50 }\n", "cpu.cap", "") == "cpu = {  }\n");
}

TEST_CASE("places are counted in characters: what stands before a value may be of any script") {
  CHECK(edited("cpu = { \"weight\" = 5 } # größer\n", "cpu.weight", "6") ==
        "cpu = { \"weight\" = 6 } # größer\n");
  CHECK(edited("# größer, 大きい\nenv = { A = \"日本\" }\n[cpu]\nweight = 5\n", "cpu.weight", "6") ==
        "# größer, 大きい\nenv = { A = \"日本\" }\n[cpu]\nweight = 6\n");
  CHECK(replace_in_config("name = \"über\" # é\n", {"name", "\"web\""}) == "name = \"web\" # é\n");
}

TEST_CASE("line ends of another system are kept") {
  CHECK(edited("[cpu]\r\nweight = 5\r\n", "cpu.cap", "50") == "[cpu]\r\nweight = 5\r\ncap = 50\r\n");
  CHECK(edited("[cpu]\r\nweight = 5\r\ncap = 50\r\n", "cpu.weight", "") == "[cpu]\r\ncap = 50\r\n");
}

TEST_CASE("values of each kind are replaced whole") {
  for (const char* value :
       {"5", "-5", "0x1F", "1_000", "1.5", "true", "\"a # b\"", "'c]'", "\"\"\"x\ny\"\"\""}) {
    CAPTURE(value);
    const std::string text = std::string("[cpu]\nweight = ") + value + " # end\ncap = 1\n";
    CHECK(edited(text, "cpu.weight", "7") == "[cpu]\nweight = 7 # end\ncap = 1\n");
  }
}

TEST_CASE("several changes are made one after the other") {
  CHECK(edit_config("[cpu]\nweight = 5\n",
                    {{"cpu.cap", "50"}, {"cpu.weight", ""}, {"memory.limit", "\"1G\""}}) ==
        "[cpu]\ncap = 50\n\n[memory]\nlimit = \"1G\"\n");
}

TEST_CASE("a key of the top of the file is replaced, and not added") {
  CHECK(replace_in_config("name = \"web\" # it\n[cpu]\nname = 1\n", {"name", "\"db\""}) ==
        "name = \"db\" # it\n[cpu]\nname = 1\n");
  CHECK(replace_in_config("[cpu]\nweight = 1\n", {"name", "\"db\""}) == "[cpu]\nweight = 1\n");
}
