#include "core/report/html.hpp"

#include <regex>
#include <stdexcept>

#include "core/report/markup.hpp"
#include "tests/catch.h"

using namespace sdpipe;

namespace {

// The first 33 bytes of a PNG file: all that the page looks at.
std::string png(int width, int height) {
  std::string out("\x89PNG\r\n\x1A\n\0\0\0\rIHDR", 16);
  for (int value : {width, height}) {
    for (int shift : {24, 16, 8, 0}) out += static_cast<char>(value >> shift & 0xFF);
  }
  return out + std::string("\x08\0\0\0\0\0\0\0\0", 9);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// What stands between <main> and </main>.
std::string main_part(const Page& page) {
  const std::string html = page.render();
  const size_t begin = html.find("<main>\n") + 7;
  return html.substr(begin, html.find("</main>") - begin);
}

Page everything(const std::string& text) {
  Page page(text, text);
  page.heading(text);
  page.subheading(text);
  page.paragraph(text);
  page.notice(text, text);
  page.key_values({{text, text}});
  page.table({text}, {{text}});
  page.image_grid({{png(8, 8), text}});
  page.strips({{text}, {{text, {png(8, 8)}}}});
  page.plot({text, text, text, false, false, {{text, {0, 1}, {0, 1}}}}, text);
  page.preformatted(text);
  return page;
}

}  // namespace

TEST_CASE("every text of a page is escaped") {
  const std::string html = everything("<script>alert(\"1\")</script>&'").render();
  CHECK_FALSE(contains(html, "<script"));
  CHECK_FALSE(contains(html, "</script"));
  CHECK_FALSE(contains(html, "alert(\""));
  size_t found = 0;
  const std::string escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;";
  for (size_t at = html.find(escaped); at != std::string::npos; at = html.find(escaped, at + 1)) ++found;
  CHECK(found == 27);
}

TEST_CASE("a page refers to nothing but its own sections and images inside it") {
  const std::string html = everything("https://example.org/x.png").render();
  const std::regex reference("(src|href|action|data|poster|srcset)=\"([^\"]*)\"");
  size_t found = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), reference), end; it != end; ++it, ++found) {
    const std::string target = (*it)[2];
    INFO(target);
    CHECK((target.starts_with("#section-") || target.starts_with("data:image/png;base64,")));
  }
  CHECK(found == 4);  // two sections, two images
  CHECK_FALSE(contains(html, "url("));
  CHECK_FALSE(contains(html, "@import"));
  CHECK_FALSE(contains(html, "<link"));
}

TEST_CASE("the same page has the same bytes") { CHECK(everything("x").render() == everything("x").render()); }

TEST_CASE("an empty page is a whole document") {
  const std::string html = Page("Run").render();
  CHECK(html.starts_with("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"));
  CHECK(contains(html, "<title>Run</title>"));
  CHECK(html.ends_with("<h1>Run</h1>\n</header>\n<main>\n</main>\n</body>\n</html>\n"));
}

TEST_CASE("headings stand in the contents, in their order") {
  Page page("Run");
  page.heading("Samples");
  page.subheading("Momentum");
  page.heading("Settings");
  CHECK(contains(page.render(),
                 "<nav aria-label=\"Contents\"><ul>\n"
                 "<li><a href=\"#section-1\">Samples</a></li>\n"
                 "<li class=\"sub\"><a href=\"#section-2\">Momentum</a></li>\n"
                 "<li><a href=\"#section-3\">Settings</a></li>\n</ul></nav>\n"));
  CHECK(main_part(page) ==
        "<h2 id=\"section-1\">Samples</h2>\n<h3 id=\"section-2\">Momentum</h3>\n<h2 id=\"section-3\">Settings</h2>\n");
}

TEST_CASE("images are enlarged by a whole number") {
  Page page("Run");
  page.image_grid({{png(28, 14), "a coat"}}, 3);
  const std::string image =
      "<img width=\"84\" height=\"42\" alt=\"a coat\" src=\"data:image/png;base64," + base64(png(28, 14)) + "\">";
  CHECK(main_part(page) == "<div class=\"scroll grid\">\n<figure style=\"width:84px\">" + image +
                               "<figcaption>a coat</figcaption></figure>\n</div>\n");
}

TEST_CASE("the zoom that a page chooses keeps the widest image within 112 px") {
  const auto width = [](int pixels) {
    Page page("Run");
    page.strips({{}, {{"row", {png(8, 8), png(pixels, 8)}}}});
    return main_part(page).substr(main_part(page).rfind("<img") + 5, 11);
  };
  CHECK(width(28) == "width=\"112\"");
  CHECK(width(32) == "width=\"96\" ");
  CHECK(width(64) == "width=\"64\" ");
  CHECK(width(200) == "width=\"200\"");
}

TEST_CASE("the zoom that a page chooses keeps long strips within the page") {
  const auto width = [](size_t columns, const std::string& label) {
    Page page("Run");
    page.strips({{}, {{label, std::vector<std::string>(columns, png(28, 28))}}});
    return main_part(page).substr(main_part(page).find("<img") + 5, 11);
  };
  CHECK(width(8, "") == "width=\"112\"");
  CHECK(width(8, "image 0") == "width=\"84\" ");
  CHECK(width(11, "") == "width=\"56\" ");
  CHECK(width(100, "") == "width=\"28\" ");
}

TEST_CASE("strips label their rows and columns") {
  Page page("Run");
  page.strips({{"t = 0", "t = 1"}, {{"ddim", {png(8, 8), png(8, 8)}}, {"naive", {png(8, 8)}}}}, 1);
  const auto image = [](const std::string& alt) {
    return "<td><img width=\"8\" height=\"8\" alt=\"" + alt + "\" src=\"data:image/png;base64," + base64(png(8, 8)) +
           "\"></td>";
  };
  CHECK(main_part(page) ==
        "<div class=\"scroll\"><table class=\"strips\" style=\"--columns:2\">\n"
        "<thead><tr><td></td><th>t = 0</th><th>t = 1</th></tr></thead>\n<tbody>\n"
        "<tr><th scope=\"row\">ddim</th>" +
            image("ddim, t = 0") + image("ddim, t = 1") +
            "</tr>\n"
            "<tr><th scope=\"row\">naive</th>" +
            image("naive, t = 0") + "</tr>\n</tbody></table></div>\n");
}

TEST_CASE("columns of numbers are set to the right") {
  Page page("Run");
  page.table({"sampler", "NFE", "error"}, {{"ddim", "24", "0.03"}, {"naive", "", "−1e-3"}});
  CHECK(
      main_part(page) ==
      "<div class=\"scroll\"><table class=\"data\">\n"
      "<thead><tr><th>sampler</th><th class=\"number\">NFE</th><th class=\"number\">error</th></tr></thead>\n<tbody>\n"
      "<tr><td>ddim</td><td class=\"number\">24</td><td class=\"number\">0.03</td></tr>\n"
      "<tr><td>naive</td><td class=\"number\"></td><td class=\"number\">−1e-3</td></tr>\n</tbody></table></div>\n");
}

TEST_CASE("a row that does not fit its table is refused") {
  Page page("Run");
  CHECK_THROWS_WITH(page.table({"a", "b"}, {{"1"}}), "a table of 2 columns has a row of 1 cells");
}

TEST_CASE("plots stand beside each other in one grid") {
  const Plot plot{"Loss", "images", "loss", false, false, {{"a", {1, 2}, {3, 4}}}};
  Page page("Run");
  page.plots({plot, plot});
  const std::string figure = "<figure>\n" + render(plot) + "</figure>\n";
  CHECK(main_part(page) == "<div class=\"grid\">\n" + figure + figure + "</div>\n");
}

TEST_CASE("links lead to files by their path, whatever its letters") {
  Page page("Run");
  page.links({{"Report of <b>", "variants/a b&\"c?#%/report-1.html"}, {"Run", "a.html"}});
  CHECK(main_part(page) ==
        "<ul>\n<li><a href=\"variants/a%20b%26%22c%3F%23%25/report-1.html\">Report of &lt;b&gt;</a></li>\n"
        "<li><a href=\"a.html\">Run</a></li>\n</ul>\n");
}

TEST_CASE("preformatted text keeps its lines, and a leading empty line with them") {
  Page page("Run");
  page.preformatted("\n[train]\n  images = 64000\n");
  CHECK(main_part(page) == "<pre>\n\n[train]\n  images = 64000\n</pre>\n");
}

TEST_CASE("the size of an image is read from its header") { CHECK(png_size(png(300, 2)) == std::pair(300, 2)); }

TEST_CASE("what is no PNG file is refused") {
  CHECK_THROWS_WITH(png_size("GIF89a"), "an image of the report is no PNG file (6 bytes)");
  CHECK_THROWS_WITH(png_size(png(0, 8)), "an image of the report is no PNG file (33 bytes)");
  CHECK_THROWS_AS(png_size(png(8, -1)), std::invalid_argument);
  CHECK_THROWS_AS(png_size(png(8, 8).substr(0, 23)), std::invalid_argument);
  Page page("Run");
  CHECK_THROWS_AS(page.image_grid({{"", "lost"}}), std::invalid_argument);
}
