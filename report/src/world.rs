//! Typst, with one template, one file of data, and the fonts that are built in. Nothing else can be read, no
//! package is fetched, and there is no clock.

use std::sync::LazyLock;

use serde_json::Value;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Duration, Smart};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World, WorldExt};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

use crate::{Error, MAX_TEMPLATE_BYTES};

struct Fonts {
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
}

static FONTS: LazyLock<Fonts> = LazyLock::new(|| {
    let fonts: Vec<Font> =
        typst_assets::fonts().flat_map(|bytes| Font::iter(Bytes::new(bytes))).collect();
    Fonts { book: LazyHash::new(FontBook::from_fonts(&fonts)), fonts }
});

/// Whether a font has it.
pub(crate) fn is_drawable(c: char) -> bool {
    let has = |font: &Font| font.info().coverage.contains(u32::from(c));
    c.is_ascii() || c.is_whitespace() || FONTS.fonts.iter().any(has)
}

struct Page {
    library: LazyHash<Library>,
    main: Source,
    data: FileId,
    bytes: Bytes,
}

impl World for Page {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &FONTS.book
    }

    fn main(&self) -> FileId {
        self.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.main.id() { Ok(self.main.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.data { Ok(self.bytes.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        FONTS.fonts.get(index).cloned()
    }

    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}

/// Sets `template` with `data` as `/report.json`. It is PDF/UA-1 if it can be: a restyled template may stand
/// against it, and then it is tagged all the same.
pub(crate) fn render(template: &str, data: &Value) -> Result<Vec<u8>, Error> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(Error::Template(format!("it is longer than {MAX_TEMPLATE_BYTES} bytes")));
    }
    let page = Page {
        library: LazyHash::new(Library::builder().build()),
        main: Source::new(path("report.typ")?, template.to_owned()),
        data: path("report.json")?,
        bytes: Bytes::from_string(data.to_string()),
    };
    let made = set(&page, data["workflow_id"].as_str().unwrap_or_default());
    // What Typst remembers of a run is of no use to the next.
    typst::comemo::evict(0);
    made
}

fn set(page: &Page, ident: &str) -> Result<Vec<u8>, Error> {
    let told = |errors: &[SourceDiagnostic]| Error::Template(diagnosis(page, errors));
    let document: PagedDocument = typst::compile(page).output.map_err(|errors| told(&errors))?;
    let options = |standards| PdfOptions {
        ident: Smart::Custom(ident.to_owned()),
        creator: Smart::Custom(Some("Sluice".to_owned())),
        standards,
        ..PdfOptions::default()
    };
    if let Ok(accessible) = PdfStandards::new(&[PdfStandard::Ua_1])
        && let Ok(bytes) = typst_pdf::pdf(&document, &options(accessible))
    {
        return Ok(bytes);
    }
    typst_pdf::pdf(&document, &options(PdfStandards::default())).map_err(|errors| told(&errors))
}

fn path(name: &str) -> Result<FileId, Error> {
    let path = VirtualPath::new(name).map_err(|error| Error::Template(format!("{error:?}")))?;
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

/// The first error, with the line it is in.
fn diagnosis(page: &Page, errors: &[SourceDiagnostic]) -> String {
    let Some(first) = errors.first() else { return "it cannot be set".to_owned() };
    let line = page.range(first.span).and_then(|range| page.main.lines().byte_to_line(range.start));
    match line {
        Some(line) => format!("line {}: {}", line + 1, first.message),
        None => first.message.to_string(),
    }
}
