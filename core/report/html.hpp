// A report as one HTML file: images inside it, no scripts, nothing loaded from anywhere. Every text is plain text and
// is escaped here. Only what is added decides its bytes: no clock, no random ids.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/report/svg.hpp"

namespace sdpipe {

struct Image {
  std::string png;  // an encoded file
  std::string caption;
};

// Images of equal kind in rows that share their columns: seeds under several samplers, or the way of an image along t.
struct Strips {
  struct Row {
    std::string label;
    std::vector<std::string> images;  // encoded PNG files
  };
  std::vector<std::string> columns;  // headers, such as "t = 0.25"; none: no header row
  std::vector<Row> rows;
};

// The picture's width and height in pixels, as its header says. Throws std::invalid_argument where this is no PNG file.
std::pair<int, int> png_size(const std::string& png);

// Builds the page from top to bottom. In the functions that take images, `zoom` is screen pixels per image pixel, and 0
// chooses the largest with which no image is wider than 112 px and a strip is not wider than the page, at least 1. They
// throw std::invalid_argument where an image is no PNG file.
class Page {
 public:
  explicit Page(std::string title, std::string subtitle = "");

  // Headings stand in the table of contents; a subheading belongs to the heading before it.
  void heading(const std::string& text);
  void subheading(const std::string& text);
  void paragraph(const std::string& text);
  // A box that is not overlooked: what a reader must know to judge the rest.
  void notice(const std::string& title, const std::string& text);
  void key_values(const std::vector<std::pair<std::string, std::string>>& pairs);
  // Columns of numbers are set to the right. Throws std::invalid_argument where a row has not one cell a column.
  void table(const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows);
  void image_grid(const std::vector<Image>& images, int zoom = 0);
  void strips(const Strips& strips, int zoom = 0);
  void plot(const Plot& plot, const std::string& caption = "");
  // Beside each other, as many in a row as have room: 460 px are half the page.
  void plots(const std::vector<Plot>& plots);
  // Other files, by their path from this one: (text, path).
  void links(const std::vector<std::pair<std::string, std::string>>& links);
  // Line ends and spaces as they are: settings as TOML.
  void preformatted(const std::string& text);

  // The whole file.
  std::string render() const;

 private:
  struct Section {
    std::string title;
    bool sub;
  };
  void add_heading(const std::string& text, bool sub);
  std::string contents() const;

  std::string title_, subtitle_, body_;
  std::vector<Section> sections_;
};

}  // namespace sdpipe
