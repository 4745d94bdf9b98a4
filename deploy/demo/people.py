"""Who buys: people and companies of many countries, from tables of our own; every address ends in .test."""

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Country:
    """A country as a seller sees it. Names that are not in Latin letters have a twin for addresses after a slash."""

    code: str
    currency: str
    locale: str
    timezone: str
    share: int
    """How many of a hundred customers, roughly, live there."""

    family_first: bool
    given: str
    family: str
    cities: str
    companies: str


COUNTRIES = (
    Country(
        "US", "usd", "en-US", "America/New_York", 27, family_first=False,
        given="Mina Dana Marcus Olivia Terrence Grace Wendell Priya Luis Hannah Desmond Carmen Elliot Naomi June",
        family="Okafor Whitfield Reyes Larkin Abrams Nguyen Castellano Pruitt Delgado Marsh Holloway Sato-Price",
        cities="Portland,Austin,Columbus,Tucson,Richmond,Oakland,Madison,Savannah",
        companies="Lumen Labs,Copper Kettle Coffee,Juniper Dental,Northside Physio,Ridgeline Outfitters,"
        "Blue Heron Books,Cedar & Vine,Harvest Table,Second Street Bakery,Prairie Veterinary,Atlas Climbing",
    ),
    Country(
        "GB", "gbp", "en-GB", "Europe/London", 16, family_first=False,
        given="Imogen Callum Niamh Rhys Aisha Toby Eilidh Gareth Sunita Fergus Beatrix Kofi",
        family="Pemberton MacLeod Achebe Fairweather Llewellyn Sharma Thistlewood Adeyemi O'Connell Blackwood Bains",
        cities="Leeds,Bristol,Glasgow,Cardiff,Norwich,Sheffield,Belfast",
        companies="Thistle & Rye,Bramble Lane Nursery,Kingfisher Clinics,Old Mill Brewing,Pennine Cycles,"
        "Quayside Dental,Harrow Road Vets,Foxglove Florists,The Marmalade Works",
    ),
    Country(
        "DE", "eur", "de-DE", "Europe/Berlin", 14, family_first=False,
        given="Jürgen Anke Matthias Zeynep Friederike Torben Lieselotte Björn Ayşe Käthe Sönke Ulrike",
        family="Müller-Lüdenscheidt Größe Yıldırım Schäfer Krüger Weiß Brömmel Öztürk Hoffmann Jürgens Köhler",
        cities="Köln,Leipzig,Münster,Freiburg,Nürnberg,Görlitz",
        companies="Bäckerei Sonnenschein,Praxis am Markt,Fahrradhaus Möller,Elbe Logistik,Grüne Küche,"
        "Physio Süd,Werkstatt Weiß,Kaffeerösterei Blömer",
    ),
    Country(
        "FR", "eur", "fr-FR", "Europe/Paris", 9, family_first=False,
        given="Élodie Benoît Maëlle Théo Aïcha Gaëtan Zoé François Noémie Loïc",
        family="Lefèvre Benaïssa Dubois Saint-Exupère Guérin Mbaye Château Lœvenbruck D'Ornano",
        cities="Lyon,Nantes,Besançon,Montpellier,Orléans",
        companies="Boulangerie Chênevert,Clinique du Parc,L'Atelier Bleu,Café Père Noé,Librairie Océane",
    ),
    Country(
        "ES", "eur", "es-ES", "Europe/Madrid", 5, family_first=False,
        given="Íñigo Begoña Álvaro Lucía Martín Xènia Joaquín Nuria",
        family="Núñez Ibáñez Puig Echevarría Muñoz Fernández Güell",
        cities="Málaga,Bilbao,València,Córdoba",
        companies="Peluquería Ñusta,Clínica Montjuïc,Bodega El Olmo,Taller Gràcia",
    ),
    Country(
        "JP", "jpy", "ja-JP", "Asia/Tokyo", 11, family_first=True,
        given="美咲/misaki 翔太/shota さくら/sakura 健一/kenichi 陽菜/hina 大輔/daisuke 結衣/yui 拓海/takumi",
        family="佐藤/sato 髙橋/takahashi 渡邊/watanabe 小林/kobayashi 山﨑/yamazaki 伊藤/ito 斎藤/saito",
        cities="東京,大阪,札幌,福岡,金沢",
        companies="さくら歯科/Sakura Shika,喫茶あおぞら/Aozora,北斗運輸/Hokuto,みどり薬局/Midori,花屋つばき/Tsubaki",
    ),
    Country(
        "IN", "usd", "en-IN", "Asia/Kolkata", 4, family_first=False,
        given="अनन्या/ananya Rohan मीरा/meera Karthik Lakshmi विक्रम/vikram",
        family="अय्यर/iyer Kulkarni शर्मा/sharma Chatterjee Reddy",
        cities="Pune,Kochi,Bengaluru,Jaipur",
        companies="Monsoon Chai House,Sunrise Diagnostics,Banyan Studio,Peacock Textiles",
    ),
    Country(
        "KR", "usd", "ko-KR", "Asia/Seoul", 3, family_first=True,
        given="서연/seoyeon 민준/minjun 지우/jiwoo 하은/haeun",
        family="김/kim 이/lee 박/park 최/choi",
        cities="서울,부산,대전",
        companies="한강의원/Hangang,달빛서점/Dalbit,온새미로/Onsaemiro",
    ),
    Country(
        "UA", "usd", "uk-UA", "Europe/Kyiv", 3, family_first=False,
        given="Оксана/oksana Тарас/taras Леся/lesia Богдан/bohdan",
        family="Шевченко/shevchenko Коваль/koval Їжакевич/yizhakevych Гончар/honchar",
        cities="Львів,Харків,Одеса",
        companies="Кав'ярня Ластівка/Lastivka,Клініка Добро/Dobro,Майстерня Ґанок/Ganok",
    ),
    Country(
        "EG", "usd", "ar-EG", "Africa/Cairo", 3, family_first=False,
        given="ليلى/layla يوسف/youssef نور/nour كريم/karim",
        family="المصري/elmasry حداد/haddad عبدالله/abdallah منصور/mansour",
        cities="القاهرة,الإسكندرية",
        companies="مقهى النيل/Neel,عيادة الأمل/Amal,مكتبة بابل/Babel",
    ),
    Country(
        "BR", "usd", "pt-BR", "America/Sao_Paulo", 3, family_first=False,
        given="João Conceição Thaís Antônio Inês Rogério",
        family="Araújo Gonçalves Magalhães Sertão Falcão",
        cities="São Paulo,Florianópolis,Belém",
        companies="Padaria Pão Quente,Clínica Ipê,Oficina do Zé",
    ),
    Country(
        "GR", "eur", "el-GR", "Europe/Athens", 2, family_first=False,
        given="Ελένη/eleni Νίκος/nikos Δάφνη/dafni Γιώργος/giorgos",
        family="Παπαδοπούλου/papadopoulou Καζαντζής/kazantzis Ιωάννου/ioannou",
        cities="Αθήνα,Πάτρα",
        companies="Φούρνος Ήλιος/Ilios,Κλινική Υγεία/Ygeia",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who buys for a company."""

    name: str
    email: str
    company: str
    country: Country
    city: str

    @property
    def called(self) -> str:
        """How the story speaks of them."""
        return f"{self.name} ({self.company})"


class Street:
    """Meets people at random, by a seeded chance; no address comes twice."""

    def __init__(self, chance: random.Random) -> None:
        """`chance` decides who comes."""
        self._chance = chance
        self._met: dict[str, int] = {}

    def meet(self) -> Person:
        """The next one who comes along."""
        country = self._chance.choices(COUNTRIES, weights=[one.share for one in COUNTRIES])[0]
        given, given_latin = _twin(self._chance.choice(country.given.split()))
        family, family_latin = _twin(self._chance.choice(country.family.split()))
        company, company_latin = _twin(self._chance.choice(country.companies.split(",")))
        handle = f"{latin(given_latin)}.{latin(family_latin)}@{latin(company_latin)}"
        self._met[handle] = again = self._met.get(handle, 0) + 1
        self._met[company] = branch = self._met.get(company, 0) + 1
        city = self._chance.choice(country.cities.split(","))
        user, _, host = handle.partition("@")
        return Person(
            name=f"{family} {given}" if country.family_first else f"{given} {family}",
            email=f"{user}{again if again > 1 else ''}@{host}.test",
            company=company if branch == 1 else f"{company} {city}",
            country=country,
            city=city,
        )


def _twin(entry: str) -> tuple[str, str]:
    """A name as it is written, and in Latin letters."""
    written, _, twin = entry.partition("/")
    return written, twin or written


def latin(text: str) -> str:
    """Small Latin letters and digits, joined by hyphens: for addresses."""
    replaced = text.translate(str.maketrans({"ß": "ss", "œ": "oe", "ı": "i", "Ø": "o", "ø": "o", "&": "and", "'": ""}))
    plain = unicodedata.normalize("NFKD", replaced).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def each_currency() -> Sequence[str]:
    """The currencies of all countries, in the order of the tables."""
    return list(dict.fromkeys(country.currency for country in COUNTRIES))
