#include "core/report/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string_view>

#include "core/report/html_style.hpp"
#include "core/report/markup.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

constexpr int comfortable_width = 112;  // px: eight images in a row of the page
constexpr int page_width = 944;         // px: what the style leaves for content, 62 rem less its padding

template <class... Args>
void append(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

int chosen_zoom(int wanted, int widest, int room = comfortable_width) {
  return wanted > 0 ? wanted : std::max(1, std::min(room, comfortable_width) / widest);
}

std::string image_element(const std::string& png, int zoom, const std::string& description) {
  const auto [width, height] = png_size(png);
  return fmt::format("<img width=\"{}\" height=\"{}\" alt=\"{}\" src=\"data:image/png;base64,{}\">", width * zoom,
                     height * zoom, escape_markup(description), base64(png));
}

std::string cell(const char* tag, const std::string& text, const char* css = "") {
  return fmt::format("<{0}{1}>{2}</{0}>", tag, css, escape_markup(text));
}

bool looks_like_number(const std::string& text) {
  const size_t sign = text.starts_with("−") ? 3 : text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return sign < text.size() && std::isdigit(static_cast<unsigned char>(text[sign]));
}

bool is_number_column(const std::vector<std::vector<std::string>>& rows, size_t column) {
  const auto number = [&](const auto& row) { return row[column].empty() || looks_like_number(row[column]); };
  return !rows.empty() && std::all_of(rows.begin(), rows.end(), number);
}

int widest_image(const Strips& strips) {
  int widest = 1;
  for (const auto& row : strips.rows) {
    for (const std::string& png : row.images) widest = std::max(widest, png_size(png).first);
  }
  return widest;
}

size_t column_count(const Strips& strips) {
  size_t count = std::max<size_t>(1, strips.columns.size());
  for (const auto& row : strips.rows) count = std::max(count, row.images.size());
  return count;
}

// What a strip leaves for each image: 4 px are its padding, and a letter of a label takes about 8.
int room_per_image(const Strips& strips) {
  size_t letters = 0;
  for (const auto& row : strips.rows) letters = std::max(letters, text_columns(row.label));
  const int room = page_width - static_cast<int>(std::min<size_t>(letters, 60)) * 8;
  return room / static_cast<int>(column_count(strips)) - 4;
}

std::string described(const Strips& strips, const Strips::Row& row, size_t column) {
  if (column < strips.columns.size()) return fmt::format("{}, {}", row.label, strips.columns[column]);
  return fmt::format("{}, {}", row.label, column + 1);
}

// RFC 3986, 2.1 and 3.3: what is not a letter, a digit or one of -._~/ in percent-encoding, so that a path stays one.
std::string url_path(const std::string& path) {
  std::string out;
  for (const char c : path) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) || std::string_view("-._~/").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace

std::pair<int, int> png_size(const std::string& png) {
  // PNG specification, 5.2 and 11.2.1: signature, then the IHDR chunk with width and height as its first two words.
  constexpr std::string_view start("\x89PNG\r\n\x1A\n\0\0\0\rIHDR", 16);
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(png[at + i]);
    return value;
  };
  constexpr uint32_t largest = std::numeric_limits<int16_t>::max();
  const bool header = png.size() >= 24 && png.starts_with(start);
  if (!header || word(16) < 1 || word(20) < 1 || word(16) > largest || word(20) > largest) {
    throw std::invalid_argument(fmt::format("an image of the report is no PNG file ({} bytes)", png.size()));
  }
  return {static_cast<int>(word(16)), static_cast<int>(word(20))};
}

Page::Page(std::string title, std::string subtitle) : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

void Page::heading(const std::string& text) { add_heading(text, false); }
void Page::subheading(const std::string& text) { add_heading(text, true); }

void Page::add_heading(const std::string& text, bool sub) {
  sections_.push_back({text, sub});
  append(body_, "<{0} id=\"section-{1}\">{2}</{0}>\n", sub ? "h3" : "h2", sections_.size(), escape_markup(text));
}

void Page::paragraph(const std::string& text) { append(body_, "<p>{}</p>\n", escape_markup(text)); }

void Page::notice(const std::string& title, const std::string& text) {
  append(body_, "<div class=\"notice\" role=\"note\"><p><strong>{}</strong></p><p>{}</p></div>\n", escape_markup(title),
         escape_markup(text));
}

void Page::key_values(const std::vector<std::pair<std::string, std::string>>& pairs) {
  body_ += "<div class=\"scroll\"><table class=\"data pairs\">\n";
  for (const auto& [key, value] : pairs) {
    append(body_, "<tr>{}{}</tr>\n", cell("th", key, " scope=\"row\""), cell("td", value));
  }
  body_ += "</table></div>\n";
}

void Page::table(const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows) {
  for (const auto& row : rows) {
    if (row.size() == columns.size()) continue;
    throw std::invalid_argument(fmt::format("a table of {} columns has a row of {} cells", columns.size(), row.size()));
  }
  std::vector<const char*> css;
  for (size_t i = 0; i < columns.size(); ++i) css.push_back(is_number_column(rows, i) ? " class=\"number\"" : "");
  body_ += "<div class=\"scroll\"><table class=\"data\">\n<thead><tr>";
  for (size_t i = 0; i < columns.size(); ++i) body_ += cell("th", columns[i], css[i]);
  body_ += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    body_ += "<tr>";
    for (size_t i = 0; i < columns.size(); ++i) body_ += cell("td", row[i], css[i]);
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

void Page::image_grid(const std::vector<Image>& images, int zoom) {
  int widest = 1;
  for (const Image& image : images) widest = std::max(widest, png_size(image.png).first);
  zoom = chosen_zoom(zoom, widest);
  body_ += "<div class=\"scroll grid\">\n";
  for (size_t i = 0; i < images.size(); ++i) {
    const Image& image = images[i];
    const std::string description = image.caption.empty() ? fmt::format("image {}", i + 1) : image.caption;
    // The caption must not widen its cell.
    append(body_, "<figure style=\"width:{}px\">{}", png_size(image.png).first * zoom,
           image_element(image.png, zoom, description));
    if (!image.caption.empty()) append(body_, "<figcaption>{}</figcaption>", escape_markup(image.caption));
    body_ += "</figure>\n";
  }
  body_ += "</div>\n";
}

void Page::strips(const Strips& strips, int zoom) {
  zoom = chosen_zoom(zoom, widest_image(strips), room_per_image(strips));
  append(body_, "<div class=\"scroll\"><table class=\"strips\" style=\"--columns:{}\">\n", column_count(strips));
  if (!strips.columns.empty()) {
    body_ += "<thead><tr><td></td>";
    for (const std::string& column : strips.columns) body_ += cell("th", column);
    body_ += "</tr></thead>\n";
  }
  body_ += "<tbody>\n";
  for (const auto& row : strips.rows) {
    append(body_, "<tr>{}", cell("th", row.label, " scope=\"row\""));
    for (size_t i = 0; i < row.images.size(); ++i) {
      append(body_, "<td>{}</td>", image_element(row.images[i], zoom, described(strips, row, i)));
    }
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

void Page::plot(const Plot& plot, const std::string& caption) {
  append(body_, "<figure>\n{}", sdpipe::render(plot));
  if (!caption.empty()) append(body_, "<figcaption>{}</figcaption>\n", escape_markup(caption));
  body_ += "</figure>\n";
}

void Page::plots(const std::vector<Plot>& plots) {
  body_ += "<div class=\"grid\">\n";
  for (const Plot& plot : plots) append(body_, "<figure>\n{}</figure>\n", sdpipe::render(plot));
  body_ += "</div>\n";
}

void Page::links(const std::vector<std::pair<std::string, std::string>>& links) {
  body_ += "<ul>\n";
  for (const auto& [text, path] : links)
    append(body_, "<li><a href=\"{}\">{}</a></li>\n", escape_markup(url_path(path)), escape_markup(text));
  body_ += "</ul>\n";
}

// HTML drops a line end that follows <pre>, so one is given to drop.
void Page::preformatted(const std::string& text) { append(body_, "<pre>\n{}</pre>\n", escape_markup(text)); }

std::string Page::contents() const {
  if (sections_.empty()) return "";
  std::string out = "<nav aria-label=\"Contents\"><ul>\n";
  for (size_t i = 0; i < sections_.size(); ++i) {
    append(out, "<li{}><a href=\"#section-{}\">{}</a></li>\n", sections_[i].sub ? " class=\"sub\"" : "", i + 1,
           escape_markup(sections_[i].title));
  }
  return out + "</ul></nav>\n";
}

std::string Page::render() const {
  // The policy says to the browser what this file promises: no scripts, nothing from outside.
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  append(out, "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n", escape_markup(title_),
         report_style, escape_markup(title_));
  if (!subtitle_.empty()) append(out, "<p class=\"subtitle\">{}</p>\n", escape_markup(subtitle_));
  append(out, "{}</header>\n<main>\n{}</main>\n</body>\n</html>\n", contents(), body_);
  return out;
}

}  // namespace sdpipe
