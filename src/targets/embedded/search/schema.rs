//! What the index holds of an entity. Nothing of it is shown: what is shown
//! is read from the catalogue.

use tantivy::TantivyDocument;
use tantivy::schema::{
    BytesOptions, Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager};

use super::texts::texts;
use super::words::{MAX_WORD, Pieces, fold, folded, last_part, words};

/// Characters of a whole name that count.
pub const MAX_WHOLE: usize = 512;
/// Characters of an attribute's name that count.
const MAX_MEMBER: usize = 128;

/// The fields of the index.
#[derive(Clone, Copy)]
pub struct Fields {
    /// Key of the entity's row: documents are replaced and removed by it.
    pub key: Field,
    /// Qualified name and number of the type: what a document stands for, and
    /// the order of documents that are found alike.
    pub place: Field,
    /// Number of the type, doubled, and one more if it is archived.
    pub kind: Field,
    /// Time of the last change, in seconds since 1970.
    pub updated: Field,
    /// The whole name, folded.
    pub whole: Field,
    /// Words of the name's last part; `=` and all of them as one.
    pub last: Field,
    /// Words of the name.
    pub name: Field,
    /// Words of the attributes.
    pub words: Field,
    /// Name of an attribute, a zero, a word of it.
    pub members: Field,
}

/// Names of the fields that are read by column.
pub const PLACE: &str = "place";
/// See [`PLACE`].
pub const KIND: &str = "kind";
/// See [`PLACE`].
pub const UPDATED: &str = "updated";

const WORDS: &str = "tidegate_words";
const MEMBERS: &str = "tidegate_members";

/// The schema, which never changes within a version of the index.
pub fn schema() -> (Schema, Fields) {
    let text = |tokenizer: &str, option| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_fieldnorms(false);
        TextOptions::default().set_indexing_options(indexing.set_index_option(option))
    };
    let mut schema = Schema::builder();
    let fields = Fields {
        key: schema.add_bytes_field("key", BytesOptions::default().set_indexed()),
        place: schema.add_bytes_field(PLACE, BytesOptions::default().set_fast()),
        kind: schema.add_u64_field(KIND, NumericOptions::default().set_fast()),
        updated: schema.add_u64_field(UPDATED, NumericOptions::default().set_fast()),
        whole: schema.add_text_field("whole", text("raw", IndexRecordOption::Basic)),
        last: schema.add_text_field("last", text("raw", IndexRecordOption::Basic)),
        name: schema.add_text_field("name", text(WORDS, IndexRecordOption::WithFreqsAndPositions)),
        words: schema.add_text_field("words", text(WORDS, IndexRecordOption::WithFreqsAndPositions)),
        members: schema.add_text_field("members", text(MEMBERS, IndexRecordOption::Basic)),
    };
    (schema.build(), fields)
}

/// Makes the ways of splitting known to an index.
pub fn register(manager: &TokenizerManager) {
    manager.register(WORDS, TextAnalyzer::from(WordTokenizer::default()));
    manager.register(MEMBERS, TextAnalyzer::from(MemberTokenizer::default()));
}

/// An entity as it is indexed.
pub struct Entity<'a> {
    /// Number of its type.
    pub type_no: u32,
    /// Its qualified name.
    pub name: &'a str,
    /// Whether it is archived.
    pub archived: bool,
    /// Time of its last change, in seconds since 1970.
    pub updated: u64,
    /// Canonical JSON object.
    pub attributes: &'a [u8],
}

/// The document of an entity, and about how many bytes it holds.
pub fn document(fields: &Fields, key: &[u8], entity: &Entity<'_>) -> (TantivyDocument, usize) {
    let mut document = TantivyDocument::default();
    document.add_bytes(fields.key, key);
    document.add_bytes(fields.place, &[entity.name.as_bytes(), &entity.type_no.to_be_bytes()].concat());
    document.add_u64(fields.kind, u64::from(entity.type_no) << 1 | u64::from(entity.archived));
    document.add_u64(fields.updated, entity.updated);
    document.add_text(fields.whole, folded(entity.name, MAX_WHOLE));
    document.add_text(fields.name, entity.name);
    let last = words(last_part(entity.name));
    document.add_text(fields.last, as_one(&last));
    for word in &last {
        document.add_text(fields.last, word);
    }
    let mut bytes = 4 * entity.name.len();
    let (mut member, mut name) = (String::new(), String::new());
    texts(entity.attributes, |attribute, text| {
        if name != attribute {
            attribute.clone_into(&mut name);
            fold_member(attribute, &mut member);
        }
        bytes += 2 * text.len() + member.len();
        document.add_text(fields.words, text);
        document.add_text(fields.members, [&member, "\0", text].concat());
        true
    });
    (document, bytes)
}

/// Words of a last part as one term.
pub fn as_one(words: &[String]) -> String {
    let mut out = String::from("=");
    words.iter().for_each(|word| out.push_str(word));
    out.truncate(out.floor_char_boundary(MAX_WHOLE));
    out
}

/// The form of an attribute's name that is compared.
pub fn fold_member(name: &str, out: &mut String) {
    fold(name, MAX_MEMBER, out);
    out.retain(|c| c != '\0');
}

#[derive(Clone, Default)]
struct WordTokenizer {
    token: Token,
}

struct WordStream<'a> {
    text: &'a str,
    /// Stands in front of each word.
    member: &'a str,
    pieces: Pieces<'a>,
    word: String,
    token: &'a mut Token,
}

impl<'a> WordStream<'a> {
    fn new(member: &'a str, text: &'a str, token: &'a mut Token) -> Self {
        Self { text, member, pieces: Pieces::new(text), word: String::new(), token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        for piece in self.pieces.by_ref() {
            fold(&self.text[piece.from..piece.to], MAX_WORD, &mut self.word);
            if self.word.is_empty() {
                continue;
            }
            self.token.text.clear();
            self.token.text.push_str(self.member);
            self.token.text.push_str(&self.word);
            self.token.position = piece.position;
            (self.token.offset_from, self.token.offset_to) = (piece.from, piece.to);
            return true;
        }
        false
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        WordStream::new("", text, &mut self.token)
    }
}

/// Splits what stands behind the first zero, and puts what stands before it,
/// with the zero, in front of each word.
#[derive(Clone, Default)]
struct MemberTokenizer {
    token: Token,
}

impl Tokenizer for MemberTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        let (member, text) = text.split_at(text.find('\0').map_or(0, |at| at + 1));
        WordStream::new(member, text, &mut self.token)
    }
}
