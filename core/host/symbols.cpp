#include "core/host/symbols.hpp"

#include <elf.h>

#include <cstring>

namespace sdpipe {
namespace {

// Nothing where it lies outside the file.
std::optional<std::string_view> part(std::string_view content, uint64_t offset, uint64_t size) {
  if (offset > content.size() || size > content.size() - offset) return std::nullopt;
  return content.substr(offset, size);
}

template <class T>
std::optional<T> read_at(std::string_view content, uint64_t offset) {
  const auto bytes = part(content, offset, sizeof(T));
  if (!bytes) return std::nullopt;
  T value;
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

std::optional<Elf64_Shdr> section(std::string_view content, const Elf64_Ehdr& header, uint64_t index) {
  if (index >= header.e_shnum) return std::nullopt;
  return read_at<Elf64_Shdr>(content, header.e_shoff + index * sizeof(Elf64_Shdr));
}

bool is_exported(const Elf64_Sym& symbol) {
  const unsigned binding = ELF64_ST_BIND(symbol.st_info), visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  return symbol.st_shndx != SHN_UNDEF && binding != STB_LOCAL &&
         (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

std::optional<std::vector<std::string>> names_of(std::string_view symbols, std::string_view texts) {
  std::vector<std::string> names;
  for (uint64_t offset = 0; offset + sizeof(Elf64_Sym) <= symbols.size(); offset += sizeof(Elf64_Sym)) {
    const auto symbol = *read_at<Elf64_Sym>(symbols, offset);
    if (!is_exported(symbol)) continue;
    const size_t end = texts.find('\0', symbol.st_name);
    if (end == texts.npos) return std::nullopt;
    names.emplace_back(texts.substr(symbol.st_name, end - symbol.st_name));
  }
  return names;
}

}  // namespace

std::optional<std::vector<std::string>> exported_symbols(std::string_view content) {
  const auto header = read_at<Elf64_Ehdr>(content, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64)
    return std::nullopt;
  // The table of sections stands at the end of the file: a file that was cut off lacks some of it.
  if (!part(content, header->e_shoff, uint64_t{header->e_shnum} * sizeof(Elf64_Shdr))) return std::nullopt;
  for (uint64_t i = 0; i < header->e_shnum; ++i) {
    const auto table = section(content, *header, i);
    if (!table) return std::nullopt;
    if (table->sh_type != SHT_DYNSYM) continue;
    const auto strings = section(content, *header, table->sh_link);
    if (!strings) return std::nullopt;
    const auto symbols = part(content, table->sh_offset, table->sh_size);
    const auto texts = part(content, strings->sh_offset, strings->sh_size);
    return symbols && texts ? names_of(*symbols, *texts) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace sdpipe
