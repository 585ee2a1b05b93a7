// Text into HTML and SVG: escaping, and the axes that all plots share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unstride {

// For the content of elements and for attributes in either kind of quotes.
std::string escaped(std::string_view text);

// For a `data:` link in an attribute.
std::string percent_encoded(std::string_view text);

// "<section …><h2>…</h2>BODY</section>"
std::string section(int number, const char *id, const char *title, const std::string &body);

// A line that says why a section is empty.
std::string absent(const std::string &reason);

// A table in a box of its own that scrolls.
std::string scrolling(const std::string &table);

// A plot that scrolls if need be, with how to read it.
std::string figure_box(const std::string &svg, const std::string &caption);

std::string details(bool open, const std::string &summary, const std::string &body);

// A coordinate in pixels, to a tenth: "12.5", "12".
std::string pixels(double value);

// A map of values to pixels, linear or logarithmic.
class PlotScale {
public:
    PlotScale(double low, double high, double from, double to, bool logarithmic);

    double operator()(double value) const; // values outside go to the nearest end
    double low() const { return low_; }
    double high() const { return high_; }

    // Round values between the ends, about `wanted` of them.
    std::vector<double> ticks(int wanted) const;

private:
    double low_, high_, from_, to_;
    bool logarithmic_;
};

// An SVG picture of a fixed size in CSS pixels.
class Picture {
public:
    Picture(double width, double height, std::string label)
        : width_(width), height_(height), label_(std::move(label)) {}

    void line(double x1, double y1, double x2, double y2, const char *style);
    void rectangle(double x, double y, double width, double height, const char *style);
    void text(double x, double y, std::string_view text, const char *style); // escapes
    void turned_text(double x, double y, std::string_view text, const char *style);
    void path(const std::string &data, const std::string &style);
    void raw(const std::string &svg) { body_ += svg; }

    // A marker of a series, with what a pointer resting on it is told.
    void marker(double x, double y, std::size_t series, const std::string &title);

    std::string finished() const;

private:
    double width_, height_;
    std::string label_, body_;
};

// Series are told apart by colour and by the shape of their markers.
inline constexpr std::size_t series_count = 6;
std::string marker_path(double x, double y, std::size_t series, double radius);

// A key of the series.
std::string legend(const std::vector<std::string> &names);

} // namespace unstride
